"""Checks the mirror from a client's machine: can it be reached, and does it serve an image?"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlencode

from attrs import frozen

from oci_registry.config.names import fold_alias
from oci_registry.setup.nouns import Authority, Mirror
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError, shown
from oci_registry.spec.image import parse_image
from oci_registry.spec.mediatypes import ACCEPT_MANIFESTS
from oci_registry.spec.reference import Reference

TIMEOUT = 30.0
"""Seconds that a response may take to begin, and to continue."""
MAX_BODY = 64 * 1024 * 1024
_NAME = "oci-registry"
_LONGEST_MESSAGE = 300


class CheckFailed(Exception):
    """The check of the mirror has failed; the message has the reason."""


@frozen
class Image:
    """An image as clients name it."""

    registry: str
    repository: str
    reference: Reference

    @classmethod
    def parse(cls, text: str) -> Image:
        """Return the image ``[HOST/]REPOSITORY[:TAG|@DIGEST]``; `ValueError` has the reason."""
        try:
            name = parse_image(text, fold=fold_alias)
        except RegistryError as error:
            raise ValueError(error.message) from None
        return cls(name.registry, name.repository, name.reference)

    def __str__(self) -> str:
        separator = "@" if isinstance(self.reference, Digest) else ":"
        return f"{self.registry}/{self.repository}{separator}{self.reference}"


@frozen
class Answer:
    """A response of the mirror; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Ask = Callable[[str], Answer]
"""Asks for a path; `CheckFailed` if there is no answer."""


def check(mirror: Mirror, image: Image | None, ask: Ask | None = None) -> list[str]:
    """Return the results as sentences; raise `CheckFailed` if anything is wrong."""
    asking = ask or Asking(mirror)
    answer = asking("/v2/")
    if answer.status != 200:
        raise CheckFailed(f"{mirror.url}/v2/ answers {answer.status}: this is not a mirror")
    health = asking("/healthz")
    known = health.status == 200 and health.body.strip() == _NAME.encode()
    found = []
    if image is not None:
        pulled, cached = _pull(image, asking)
        known = known or cached
        found.append(pulled)
    if known:
        found.insert(0, f"{mirror.url} is {_NAME}")
    elif image is not None:
        raise CheckFailed(f"{mirror.url} is a registry, but not {_NAME}")
    else:
        found.insert(
            0,
            f"{mirror.url} is a registry, but does not identify itself as {_NAME}: another program "
            f"may listen there, or a proxy does not forward /healthz (it answers {health.status}); "
            "find out with --image",
        )
    return found


def _pull(image: Image, ask: Ask) -> tuple[str, bool]:
    """Get the manifest of an image, and its config or first layer; return the results."""
    digest, document, answer = _manifest(image, image.reference, ask)
    cached = _NAME in answer.headers.get("cache-status", "")
    children = _list(document.get("manifests"))
    if children:
        child = _digest(_for_linux(children))
        digest, document, _ = _manifest(image, child, ask)
    blobs = [document.get("config"), *_list(document.get("layers"))]
    blob = next((each for each in blobs if isinstance(each, dict)), None)
    if blob is None:
        return f"pulled {image}: the manifest {digest}, which has no blobs", cached
    wanted = _digest(blob)
    body = _get(image, f"blobs/{wanted}", ask).body
    if _hash(wanted, body) != wanted.encoded:
        raise CheckFailed(f"{image}: the blob {wanted} has other bytes")
    return (
        f"pulled {image}: the manifest {digest} and the blob {wanted} ({len(body)} bytes)",
        cached,
    )


def _manifest(
    image: Image, reference: Reference, ask: Ask
) -> tuple[str, Mapping[str, object], Answer]:
    answer = _get(image, f"manifests/{reference}", ask)
    if isinstance(reference, Digest) and _hash(reference, answer.body) != reference.encoded:
        raise CheckFailed(f"{image}: the manifest {reference} has other bytes")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CheckFailed(f"{image}: the manifest is not JSON")
    return f"sha256:{hashlib.sha256(answer.body).hexdigest()}", document, answer


def _get(image: Image, what: str, ask: Ask) -> Answer:
    namespace = urlencode({"ns": image.registry})
    answer = ask(f"/v2/{image.repository}/{what}?{namespace}")
    if answer.status != 200:
        raise CheckFailed(f"{image}: the mirror answers {answer.status}{_reason(answer.body)}")
    return answer


def _reason(body: bytes) -> str:
    """Return the message in a registry's error response, to append to its status."""
    try:
        message = json.loads(body)["errors"][0]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return f": {shown(message, _LONGEST_MESSAGE)}" if isinstance(message, str) else ""


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _for_linux(children: list[object]) -> object:
    for child in children:
        platform = child.get("platform") if isinstance(child, dict) else None
        if isinstance(platform, dict) and platform.get("os") == "linux":
            return child
    return children[0]


def _digest(descriptor: object) -> Digest:
    text = descriptor.get("digest") if isinstance(descriptor, dict) else None
    try:
        return Digest.parse(str(text))
    except RegistryError:
        raise CheckFailed("the manifest names a blob without a digest") from None


def _hash(digest: Digest, body: bytes) -> str:
    return hashlib.new(digest.algorithm, body).hexdigest()


class Asking:
    """Sends requests to the mirror, without a proxy; ``authority`` is trusted besides the machine's."""

    def __init__(
        self, mirror: Mirror, timeout: float = TIMEOUT, authority: Authority | None = None
    ) -> None:
        self._mirror = mirror
        self._timeout = timeout
        context = ssl.create_default_context()
        if authority is not None:
            context.load_verify_locations(cadata=authority.text)
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def __call__(self, path: str) -> Answer:
        """Ask for a path."""
        url = f"{self._mirror.url}{path}"
        # The scheme is http or https: a mirror has no other.
        request = urllib.request.Request(url, headers={"Accept": ACCEPT_MANIFESTS})  # noqa: S310
        with self._explaining():
            try:
                response = self._opener.open(request, timeout=self._timeout)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                body = response.read(MAX_BODY + 1)
                if len(body) > MAX_BODY:
                    raise CheckFailed(f"{url} answers with more than {MAX_BODY} bytes")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status or 0, headers, body)
        raise AssertionError("not reached")

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise CheckFailed(f"{self._mirror.url}: {self._why(reason)}") from None

    def _why(self, error: object) -> str:
        match error:
            case ssl.SSLCertVerificationError():
                return (
                    f"its certificate is not trusted here: {error.verify_message}; clients need its "
                    "certificate authority (--ca-file)"
                )
            case ssl.SSLError() if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
                return f"wrong version number: is it plain HTTP? Use http://{self._mirror.host}"
            case ssl.SSLError():
                return (
                    f"TLS: {str(error.reason or 'the handshake failed').lower().replace('_', ' ')}"
                )
            case ConnectionRefusedError():
                return "connection refused: is the daemon running, and does it --listen there?"
            case socket.gaierror():
                return "its name cannot be resolved"
            case TimeoutError():
                return f"no answer within {self._timeout:g} s: is there a firewall?"
            case http.client.HTTPException() | ConnectionError():
                return f"no HTTP answer: is it https? Use https://{self._mirror.host}"
            case OSError(strerror=str(text)):
                return text
        return type(error).__name__
