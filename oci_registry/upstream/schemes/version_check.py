"""The challenge of a registry to a request without credentials at ``/v2/`` (the API version check).

Some registries challenge there alone: to a request without credentials, a private repository does
not exist, is forbidden, or is a page to log in.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from oci_registry.spec.challenge import Challenge, parse_challenges, read_lines
from oci_registry.spec.errors import NameUnknown
from oci_registry.spec.urls import BadRedirect, Url
from oci_registry.streams.body import abandon
from oci_registry.streams.flight import SingleFlight
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.failures import explain, header, refuse, too_late

REMEMBERED = 300.0
"""Seconds for which an answer is used, also one without a challenge."""
CHECK_TIMEOUT = 15.0
"""Seconds that ``/v2/`` has to answer."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 3


class VersionCheck:
    """The challenges at ``/v2/`` of the registry at *url* (scheme and authority), requested once."""

    def __init__(self, http: UpstreamHttp, url: str, clock: IReactorTime) -> None:
        self._http = http
        self._at = Url.parse(f"{url}/v2/")
        self._host = self._at.authority
        self._clock = clock
        self._found: tuple[Challenge, ...] = ()
        self._until: float | None = None
        self._asking: SingleFlight[None, tuple[Challenge, ...]] = SingleFlight()

    async def challenges(self) -> tuple[Challenge, ...]:
        """Return the challenges, without scopes; empty if there are none.

        If the registry cannot answer, the next call asks it again. Raises `RegistryError`.
        """
        if self._until is not None and self._clock.seconds() < self._until:
            return self._found
        return await self._asking.run(None, self._ask)

    async def _ask(self) -> tuple[Challenge, ...]:
        asked = Deferred.fromCoroutine(self._follow())
        try:
            found = await asked.addTimeout(CHECK_TIMEOUT, self._clock, too_late)
        except Exception as error:
            raise explain(error, self._host) from None
        self._found, self._until = found, self._clock.seconds() + REMEMBERED
        return found

    async def _follow(self) -> tuple[Challenge, ...]:
        at = self._at
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._http.send("GET", at.text, {}, why="how to authenticate")
            abandon(response, self._clock)
            if response.code == 429 or response.code >= 500:
                raise refuse(response, self._host, NameUnknown, "/v2/", self._clock.seconds())
            if response.code == 401:
                lines = read_lines(response.headers.getRawHeaders(b"WWW-Authenticate") or ())
                # Some name a scope here, which is only an example.
                return tuple(challenge.without("scope") for challenge in parse_challenges(lines))
            target = _redirected(at, response)
            if target is None or target.origin != at.origin:
                break
            at = target
        return ()


def _redirected(at: Url, response: IResponse) -> Url | None:
    """Return where a redirect leads; None if it leads nowhere, or is not a redirect."""
    if response.code not in _REDIRECTS:
        return None
    try:
        return at.redirected(header(response, "Location"))
    except BadRedirect:
        return None
