"""A remote registry, spoken to in the distribution API over treq."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from oci_registry.config.settings import HostSettings, UpstreamSettings
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    RegistryError,
    shown,
)
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.spec.mediatypes import ACCEPT_MANIFESTS
from oci_registry.spec.reference import Tag
from oci_registry.streams.body import BodyPump, abandon, collect
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.authenticator import Authenticator
from oci_registry.upstream.failures import explain, header, refuse, too_late
from oci_registry.upstream.interfaces import Page, Referrers
from oci_registry.upstream.lists import ReferrersLister, TagsLister, url_of

ANSWER_TIMEOUT = 20.0
"""Seconds from a question to the headers of its answer, tokens and redirects included; containerd waits 30."""
BODY_TIMEOUT = 60.0
"""Seconds a blob's body may stand still."""
MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

T = TypeVar("T")


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)


def _content_length(response: IResponse) -> int | None:
    """Return the length that a HEAD promises, None when it was compressed or is not there."""
    value = header(response, "Content-Length")
    if response.length is UNKNOWN_LENGTH or header(response, "Content-Encoding"):
        return None
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 19 else None


class HttpBlob:
    """A blob's answer whose body waits: an `interfaces.UpstreamBlob`."""

    def __init__(
        self,
        response: IResponse,
        clock: IReactorTime,
        explained: Callable[[BaseException | None], RegistryError],
    ) -> None:
        self.size: int | None = response.length if isinstance(response.length, int) else None
        self._response = response
        self._clock = clock
        self._explained = explained

    def pump(self, consumer: IConsumer) -> Deferred[int]:
        """Write the body to *consumer*."""
        pump = BodyPump(consumer, self._clock, BODY_TIMEOUT, self.size)
        return pump.run(self._response).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        return Failure(self._explained(failure.value))

    def abandon(self) -> None:
        """Close the connection."""
        abandon(self._response, self._clock, limit=0)


class RegistryClient:
    """One upstream: an `interfaces.Upstream`."""

    def __init__(
        self,
        settings: UpstreamSettings,
        host: HostSettings,
        http: UpstreamHttp,
        clock: IReactorTime,
        counted: Callable[[str], None],
    ) -> None:
        self.namespace = settings.namespace
        self.configured = settings.configured
        self.manifest_invalidation_time = settings.manifest_invalidation_time
        self.stale_while_revalidate = settings.stale_while_revalidate
        self.stale_if_error = settings.stale_if_error
        self.believe_not_found = settings.believe_not_found
        self.blob_invalidation_time = settings.blob_invalidation_time
        self._host = host.host
        self._url = f"{'https' if host.tls else 'http'}://{host.host}"
        self._user_agent = settings.user_agent or "oci-registry"
        self._http = http
        self._clock = clock
        self._counted = counted
        self._auth = Authenticator(http, self._url, host.credentials, clock)

    async def manifest(
        self, repository: str, reference: Tag | Digest, *, patient: bool = True
    ) -> Manifest:
        """Return a checked manifest; one attempt is made, whoever is patient."""
        return await self._in_time(self._manifest(repository, reference))

    async def _manifest(self, repository: str, reference: Tag | Digest) -> Manifest:
        path = f"{repository}/manifests/{reference}"
        response = await self._ask("GET", repository, path, {"Accept": ACCEPT_MANIFESTS})
        self._expect(response, ManifestUnknown, f"{repository}, {reference}")
        raw = await collect(response, MAX_MANIFEST_SIZE, self._clock, ANSWER_TIMEOUT)
        claimed = self._claimed_digest(response)
        algorithm = reference.algorithm if isinstance(reference, Digest) else "sha256"
        if isinstance(reference, Tag) and claimed is not None:
            algorithm = claimed.algorithm
        digest = Digest.of(raw, algorithm)
        if isinstance(reference, Digest) and digest != reference:
            raise BadGateway(f"upstream {self._host} sent {digest} when asked for {reference}")
        if claimed is not None and claimed.algorithm == algorithm and claimed != digest:
            raise BadGateway(f"upstream {self._host} calls {digest} by the wrong digest {claimed}")
        try:
            return Manifest.read(raw, header(response, "Content-Type"), digest)
        except ManifestInvalid as error:
            raise BadGateway(
                f"upstream {self._host} sent no manifest for {reference}: {error.message}"
            ) from None

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        """Return the digest that upstream says a tag has."""
        return await self._in_time(self._manifest_digest(repository, tag))

    async def _manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        path = f"{repository}/manifests/{tag}"
        response = await self._ask("HEAD", repository, path, {"Accept": ACCEPT_MANIFESTS})
        if response.code in (405, 501):
            # HEAD is not offered here, which says nothing about the tag: the caller may still GET.
            abandon(response, self._clock)
            return None
        self._expect(response, ManifestUnknown, f"{repository}, {tag}")
        return self._claimed_digest(response)

    async def blob(self, repository: str, digest: Digest) -> HttpBlob:
        """Begin to download a blob."""
        return await self._in_time(self._blob(repository, digest))

    async def _blob(self, repository: str, digest: Digest) -> HttpBlob:
        response = await self._ask("GET", repository, f"{repository}/blobs/{digest}", {})
        self._expect(response, BlobUnknown, f"{repository}, {digest}")
        return HttpBlob(response, self._clock, self._explained)

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Return a blob's size."""
        return await self._in_time(self._blob_size(repository, digest))

    async def _blob_size(self, repository: str, digest: Digest) -> int | None:
        response = await self._ask("HEAD", repository, f"{repository}/blobs/{digest}", {})
        self._expect(response, BlobUnknown, f"{repository}, {digest}")
        return _content_length(response)

    async def tags(self, repository: str, n: int | None, last: str | None) -> Page:
        """Return tags of a repository."""
        lister = TagsLister(self._host, self._clock, repository, self._url)
        return await self._in_time(lister.fetch(self._ask, n, last))

    async def referrers(self, repository: str, digest: Digest) -> Referrers:
        """Return what refers to a manifest, by the API or by the tag that stands in for it."""
        lister = ReferrersLister(self._host, self._clock, repository, self._url)
        return await self._in_time(lister.fetch(self._ask, digest))

    def close(self) -> Deferred[None]:
        """Close idle connections."""
        return self._http.close()

    def _explained(self, error: BaseException | None) -> RegistryError:
        return explain(error, self._host, public_only=not self.configured)

    def _in_time(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Bound *work* in time; make every failure a `RegistryError`."""
        done: Deferred[T] = Deferred.fromCoroutine(work)
        done.addTimeout(ANSWER_TIMEOUT, self._clock, too_late)
        done.addCallbacks(self._succeeded, self._failed)
        return done

    def _succeeded(self, value: T) -> T:
        self._counted("ok")
        return value

    def _failed(self, failure: Failure) -> Failure:
        error = self._explained(failure.value)
        self._counted(str(error.status))
        return Failure(error)

    def _claimed_digest(self, response: IResponse) -> Digest | None:
        claim = header(response, "Docker-Content-Digest")
        if claim is None:
            return None
        try:
            return Digest.parse(claim.strip())
        except RegistryError:
            return None

    def _expect(self, response: IResponse, unknown: type[RegistryError], what: str) -> None:
        """Raise unless the answer is a 200 in a form that can be used."""
        if response.code == 200:
            # What treq could decode it has decoded, and removed the header's value.
            encoding = header(response, "Content-Encoding")
            if not encoding or encoding.lower() == "identity":
                return
            error: RegistryError = BadGateway(
                f"upstream {self._host} encodes {what} as {shown(encoding, 40)}"
            )
        else:
            error = refuse(response, self._host, unknown, what, self._clock.seconds())
        abandon(response, self._clock)
        raise error

    async def _ask(
        self, method: str, repository: str, path: str, headers: Mapping[str, str]
    ) -> IResponse:
        """Ask with authorization, answering one challenge; *path* is relative to ``/v2/``."""
        url = url_of(self._url, path)
        scope = f"repository:{repository}:pull"
        authorization = self._auth.at_hand(scope)
        response = await self._follow(method, url, headers, authorization)
        if response.code == 401:
            challenges = response.headers.getRawHeaders(b"WWW-Authenticate") or []
            texts = [c.decode("utf-8", "replace") for c in challenges]
            answer = await self._auth.answer(texts, scope, authorization)
            if answer is not None:
                abandon(response, self._clock)
                response = await self._follow(method, url, headers, answer)
        return response

    async def _follow(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None
    ) -> IResponse:
        """Send a request and go where it is redirected, leaving credentials behind on the way."""
        origin = urlsplit(url)
        for _ in range(MAX_REDIRECTS + 1):
            sent = {"User-Agent": self._user_agent, **headers}
            if authorization is not None and _origin(urlsplit(url)) == _origin(origin):
                sent["Authorization"] = authorization
            response = await self._http.send(method, url, sent)
            if response.code not in _REDIRECTS:
                return response
            location = header(response, "Location") or ""
            abandon(response, self._clock)
            url = self._redirected(url, location)
        raise BadGateway(f"upstream {self._host} redirects without end")

    def _redirected(self, url: str, location: str) -> str:
        """Return where a redirect leads (RFC 9110 section 10.2.2); never from https to http."""
        try:
            target = urlsplit(urljoin(url, location))
            port = target.port
        except ValueError:
            target, port = urlsplit(""), None
        if target.scheme not in ("http", "https") or not target.hostname or port == 0:
            raise BadGateway(f"upstream {self._host} redirects to nowhere")
        if urlsplit(url).scheme == "https" and target.scheme != "https":
            raise BadGateway(f"upstream {self._host} redirects from https to http")
        host = target.netloc.rpartition("@")[2]
        return target._replace(netloc=host, fragment="").geturl()
