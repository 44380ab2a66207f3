"""One host of a remote registry, spoken to in the distribution API over treq."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from oci_registry.config.settings import HostSettings, UpstreamSettings
from oci_registry.metrics import HostMetrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
)
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.spec.mediatypes import ACCEPT_MANIFESTS
from oci_registry.spec.reference import Tag
from oci_registry.streams.body import BodyTooLong, abandon
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.authenticator import Authenticator
from oci_registry.upstream.blob import HttpBlob
from oci_registry.upstream.encoding import Body, coding_of, read_body
from oci_registry.upstream.failures import (
    Unusable,
    WrongAnswer,
    explain,
    header,
    refuse,
    too_late,
    was_cancelled,
)
from oci_registry.upstream.interfaces import Page, Referrers
from oci_registry.upstream.limits import RateLimit
from oci_registry.upstream.lists import ReferrersLister, TagsLister, url_of

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

T = TypeVar("T")


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)


def _content_length(response: IResponse) -> int | None:
    """Return the length that a HEAD promises, None when it is that of an encoded body or is not there."""
    value = header(response, "Content-Length")
    if response.length is UNKNOWN_LENGTH or coding_of(response) is not None:
        return None
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 19 else None


class RegistryClient:
    """One host of an upstream, asked in the distribution API.

    Each question has *within* seconds until it is answered, or for a blob until its headers are
    there, tokens and redirects included; None stands for the upstream's ``response_timeout``. It raises
    `RegistryError`s that name the host, `WrongAnswer` and `TimedOut` among them.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        host: HostSettings,
        http: UpstreamHttp,
        clock: IReactorTime,
        metrics: HostMetrics,
    ) -> None:
        self._public_only = not settings.configured
        self.name = self._host = host.host
        self._url = f"{'https' if host.tls else 'http'}://{host.host}"
        self._user_agent = settings.user_agent or "oci-registry"
        self._timeout = settings.response_timeout
        self._idle = settings.body_timeout
        self._http = http
        self._clock = clock
        self._metrics = metrics
        self.limit = RateLimit(clock, metrics)
        self._auth = Authenticator(http, self._url, host.credentials, clock)

    async def ping(self, within: float | None = None) -> None:
        """Return when the host has given an answer, whichever, but that it cannot or will not."""
        await self._in_time(self._ping(), within)

    async def _ping(self) -> None:
        response = await self._http.send("GET", f"{self._url}/v2/", self._headers())
        abandon(response, self._clock)
        if response.code == 429 or response.code >= 500:
            raise refuse(response, self._host, NameUnknown, "/v2/", self._clock.seconds())

    async def manifest(
        self, repository: str, reference: Tag | Digest, within: float | None = None
    ) -> Manifest:
        """Return a manifest whose bytes have been checked against its digest, asked for and claimed."""
        return await self._in_time(self._manifest(repository, reference), within)

    async def _manifest(self, repository: str, reference: Tag | Digest) -> Manifest:
        path = f"{repository}/manifests/{reference}"
        response = await self._ask("GET", repository, path, {"Accept": ACCEPT_MANIFESTS})
        self._expect(response, ManifestUnknown, f"{repository}, {reference}")
        body = await self._read(response)
        claimed = self._claimed_digest(response)
        algorithm = reference.algorithm if isinstance(reference, Digest) else "sha256"
        if isinstance(reference, Tag) and claimed is not None:
            algorithm = claimed.algorithm
        raw = self._choose(body, reference if isinstance(reference, Digest) else claimed)
        digest = Digest.of(raw, algorithm)
        if isinstance(reference, Digest) and digest != reference:
            raise WrongAnswer(f"upstream {self._host} sent {digest} when asked for {reference}")
        if claimed is not None and claimed.algorithm == algorithm and claimed != digest:
            raise WrongAnswer(f"upstream {self._host} calls {digest} by the wrong digest {claimed}")
        try:
            return Manifest.read(raw, header(response, "Content-Type"), digest)
        except ManifestInvalid as error:
            raise WrongAnswer(
                f"upstream {self._host} sent no manifest for {reference}: {error.message}"
            ) from None

    async def _read(self, response: IResponse) -> Body:
        try:
            return await read_body(response, MAX_MANIFEST_SIZE, self._clock, self._timeout)
        except BodyTooLong as error:
            raise WrongAnswer(f"upstream {self._host}: {error}") from None

    def _choose(self, body: Body, digest: Digest | None) -> bytes:
        """Return the reading of a manifest that has the digest, else the one that may be a manifest."""
        try:
            for reading in body.readings():
                if digest is not None and Digest.of(reading, digest.algorithm) == digest:
                    return reading
            return body.document()
        except BodyTooLong as error:
            raise WrongAnswer(f"upstream {self._host}: {error}") from None

    async def manifest_digest(
        self, repository: str, tag: Tag, within: float | None = None
    ) -> Digest | None:
        """Return the digest that the host says a tag has (HEAD), None if it does not say."""
        return await self._in_time(self._manifest_digest(repository, tag), within)

    async def _manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        path = f"{repository}/manifests/{tag}"
        response = await self._ask("HEAD", repository, path, {"Accept": ACCEPT_MANIFESTS})
        if response.code in (405, 501):
            # HEAD is not offered here, which says nothing about the tag: the caller may still GET.
            abandon(response, self._clock)
            return None
        self._expect(response, ManifestUnknown, f"{repository}, {tag}")
        return self._claimed_digest(response)

    async def blob(
        self,
        repository: str,
        digest: Digest,
        start: int = 0,
        stop: int | None = None,
        validator: str | None = None,
        within: float | None = None,
        *,
        size: int | None = None,
        inflate: bool | None = None,
    ) -> HttpBlob:
        """Begin to download a blob, or its bytes from *start* to *stop*.

        *validator*: what this host's last answer had. The host may send the whole instead. *size*: the
        blob's, if it is known; *inflate*: what to do where the body is encoded, see `HttpBlob`.
        """

        def body_of(response: IResponse) -> HttpBlob:
            return HttpBlob(
                response, self._clock, self._idle, self._explained, known=size, inflate=inflate
            )

        work = self._blob(repository, digest, start, stop, validator, body_of)
        return await self._in_time(work, within)

    async def _blob(
        self,
        repository: str,
        digest: Digest,
        start: int,
        stop: int | None,
        validator: str | None,
        body_of: Callable[[IResponse], HttpBlob],
    ) -> HttpBlob:
        headers = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if validator is not None:
                headers["If-Range"] = validator
        response = await self._ask("GET", repository, f"{repository}/blobs/{digest}", headers)
        what = f"{repository}, {digest}"
        self._expect(response, BlobUnknown, what, partial=bool(headers))
        try:
            body = body_of(response)
            if body.start not in (0, start):
                raise WrongAnswer("it is not the range that was asked for")
        except WrongAnswer as error:
            abandon(response, self._clock, limit=0)
            if isinstance(error, Unusable):
                raise
            message = f"upstream {self._host}, asked for a part of {what}: {error.message}"
            raise WrongAnswer(message) from None
        return body

    async def blob_size(
        self, repository: str, digest: Digest, within: float | None = None
    ) -> int | None:
        """Return a blob's size in bytes (HEAD), None if the host does not say."""
        return await self._in_time(self._blob_size(repository, digest), within)

    async def _blob_size(self, repository: str, digest: Digest) -> int | None:
        response = await self._ask("HEAD", repository, f"{repository}/blobs/{digest}", {})
        self._expect(response, BlobUnknown, f"{repository}, {digest}")
        return _content_length(response)

    async def tags(
        self, repository: str, n: int | None, last: str | None, within: float | None = None
    ) -> Page:
        """Return tags of a repository, in the host's order."""
        lister = TagsLister(self._host, self._clock, repository, self._url)
        return await self._in_time(lister.fetch(self._ask, n, last), within)

    async def referrers(
        self, repository: str, digest: Digest, within: float | None = None
    ) -> Referrers:
        """Return what refers to a manifest, by the API or by the tag that stands in for it."""
        lister = ReferrersLister(self._host, self._clock, repository, self._url)
        return await self._in_time(lister.fetch(self._ask, digest), within)

    def close(self) -> Deferred[None]:
        """Close idle connections; what is under way goes on."""
        return self._http.close()

    def _explained(self, error: BaseException | None) -> RegistryError:
        return explain(error, self._host, public_only=self._public_only)

    def _in_time(self, work: Coroutine[Any, Any, T], within: float | None) -> Awaitable[T]:
        """Bound *work* in time; make every failure a `RegistryError`, but a cancellation itself."""
        done: Deferred[T] = Deferred.fromCoroutine(work)
        given_up = False

        def give_up(_: object) -> None:
            nonlocal given_up
            given_up = True
            done.cancel()

        def as_asked(failure: Failure) -> Failure:
            # A body that is given up ends with an error of its own, which would blame the host.
            return Failure(CancelledError()) if given_up else failure

        answer: Deferred[T] = Deferred(give_up)
        done.addTimeout(self._timeout if within is None else within, self._clock, too_late)
        done.addErrback(as_asked)
        done.addCallbacks(self._succeeded, self._failed)
        done.chainDeferred(answer)
        return answer

    def _succeeded(self, value: T) -> T:
        self._metrics.answered("ok")
        return value

    def _failed(self, failure: Failure) -> Failure:
        if failure.value is not None and was_cancelled(failure.value):
            return Failure(CancelledError())
        error = self._explained(failure.value)
        self._metrics.answered(str(error.status))
        return Failure(error)

    def _claimed_digest(self, response: IResponse) -> Digest | None:
        claim = header(response, "Docker-Content-Digest")
        if claim is None:
            return None
        try:
            return Digest.parse(claim.strip())
        except RegistryError:
            return None

    def _expect(
        self,
        response: IResponse,
        unknown: type[RegistryError],
        what: str,
        *,
        partial: bool = False,
    ) -> None:
        """Raise unless the answer is a 200, or 206 or 416 if *partial*."""
        if partial and response.code == 416:
            return
        if response.code == 200 or (partial and response.code == 206):
            return
        error = refuse(response, self._host, unknown, what, self._clock.seconds())
        abandon(response, self._clock)
        raise error

    def _headers(self) -> dict[str, str]:
        return {"User-Agent": self._user_agent}

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
            try:
                answer = await self._auth.answer(texts, scope, authorization)
            except BaseException:
                abandon(response, self._clock)
                raise
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
            sent = {**self._headers(), **headers}
            at_home = _origin(urlsplit(url)) == _origin(origin)
            if authorization is not None and at_home:
                sent["Authorization"] = authorization
            response = await self._http.send(method, url, sent)
            if at_home:
                self.limit.note(response)
            if response.code not in _REDIRECTS:
                if response.code in (401, 403) and not at_home:
                    # Not a word about us: a signed link that has expired, or a store in trouble.
                    abandon(response, self._clock)
                    elsewhere = urlsplit(url).hostname
                    raise BadGateway(
                        f"upstream {self._host} redirects to {elsewhere}, "
                        f"which answered {response.code}"
                    )
                return response
            location = header(response, "Location") or ""
            abandon(response, self._clock)
            url = self._redirected(url, location)
        raise WrongAnswer(f"upstream {self._host} redirects without end")

    def _redirected(self, url: str, location: str) -> str:
        """Return where a redirect leads (RFC 9110 section 10.2.2); never from https to http."""
        try:
            target = urlsplit(urljoin(url, location))
            port = target.port
        except ValueError:
            target, port = urlsplit(""), None
        if target.scheme not in ("http", "https") or not target.hostname or port == 0:
            raise WrongAnswer(f"upstream {self._host} redirects to nowhere")
        if urlsplit(url).scheme == "https" and target.scheme != "https":
            raise WrongAnswer(f"upstream {self._host} redirects from https to http")
        host = target.netloc.rpartition("@")[2]
        return target._replace(netloc=host, fragment="").geturl()
