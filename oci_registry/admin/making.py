"""Makes the admin sites of a daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.admin.api import Api, ApiParts
from oci_registry.admin.daemon import DaemonHandlers, DaemonParts
from oci_registry.admin.gate import Gate, LocalGate, TokenGate
from oci_registry.admin.images import ImageHandlers
from oci_registry.admin.original import NAME, Original
from oci_registry.admin.routes import AnyRoute, RouteTable
from oci_registry.admin.site import AdminSite
from oci_registry.admin.stream import EventStreams
from oci_registry.admin.table import daemon_routes, image_routes, make_table
from oci_registry.admin.token import AdminToken
from oci_registry.config.admin import read_token
from oci_registry.config.files import FileContent
from oci_registry.config.names import fold_alias
from oci_registry.config.settings import Settings
from oci_registry.logs import AccessLog
from oci_registry.management.source import Source
from oci_registry.repeats import RepeatLog
from oci_registry.spec.image import ImageName, parse_image
from oci_registry.streams.threads import RunInThread
from oci_registry.web.root import Root


@frozen
class Admin:
    """The admin sites of a daemon.

    *local* is for UNIX sockets, *guarded* for all other places: its API needs the token. *streams*: those
    of events, which end when the daemon stops. *routes*: all of the API.
    """

    local: AdminSite
    guarded: AdminSite
    streams: EventStreams
    routes: RouteTable


def make_admin(
    make_root: Callable[[], Root],
    told: DaemonParts,
    source: Source,
    settings: Settings,
    streams: EventStreams,
    token: AdminToken | None,
    parts: ApiParts,
    access_log: AccessLog,
    repeats: RepeatLog,
    further: Callable[[Callable[[str], ImageName]], Iterable[AnyRoute]] = lambda _: (),
) -> Admin:
    """Return the sites. *make_root* makes the other pages of each; *source* answers for the store.

    *further*: returns routes of other parts, given what reads the name of an image.
    """

    def parse(text: str) -> ImageName:
        # Registries in the upstream file whose names are not hosts.
        known = {each.namespace for each in told.table.upstreams if each.configured}
        return parse_image(
            text, default=settings.default_namespace, registries=known, fold=fold_alias
        )

    images = ImageHandlers(source, parse, told.events)
    routes = make_table(
        [*daemon_routes(DaemonHandlers(told), streams), *image_routes(images), *further(parse)]
    )

    def site(gate: Gate) -> AdminSite:
        root = make_root()
        root.putChild(b"api", Api(routes, gate, parts))
        root.putChild(NAME, Original(images, told.table, gate, parts))
        return AdminSite(root, parts.clock, access_log, repeats)

    return Admin(site(LocalGate()), site(TokenGate(token)), streams, routes)


class TokenReload:
    """Reads the token again on SIGHUP; one that cannot be used changes nothing."""

    _log = Logger()

    def __init__(self, path: str, token: AdminToken, reading: RunInThread) -> None:
        self._path = path
        self._token = token
        self._reading = reading

    def reload(self) -> Deferred[None]:
        """Accept the token that is in the file now."""
        read: Deferred[tuple[str, FileContent]] = self._reading(read_token, self._path)
        return read.addCallbacks(self._accept, self._keep)

    def _accept(self, result: tuple[str, FileContent]) -> None:
        token, content = result
        self._token.replace(token)
        if content.exposed:
            self._log.warn(
                "--admin-token-file {path} {exposure}", path=self._path, exposure=content.exposure
            )
        self._log.info("read the admin token again")

    def _keep(self, failure: Any) -> None:
        self._log.error(
            "reload failed, the admin token is unchanged: {path}: {reason}",
            path=self._path,
            reason=failure.getErrorMessage(),
        )


def reload_all(
    settings: Settings,
    reload: Callable[[], None],
    token: AdminToken | None,
    reading: RunInThread,
) -> Callable[[], None]:
    """Return what reads again all that can change, *reload* and the token; *reading*: reads files."""
    if token is None or settings.admin_token_file is None:
        return reload
    tokens = TokenReload(settings.admin_token_file, token, reading)

    def both() -> None:
        reload()
        tokens.reload()

    return both
