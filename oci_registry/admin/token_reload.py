"""Reads the token of the admin API again on SIGHUP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.admin.token import AdminToken
from oci_registry.config.admin import read_token
from oci_registry.config.files import FileContent
from oci_registry.config.settings import Settings
from oci_registry.streams.threads import RunInThread


class TokenReload:
    """Reads the token again on SIGHUP; an unusable one changes nothing.

    *replaced*: called when another token may be accepted than before.
    """

    _log = Logger()

    def __init__(
        self, path: str, token: AdminToken, reading: RunInThread, replaced: Callable[[], None]
    ) -> None:
        self._path = path
        self._token = token
        self._reading = reading
        self._replaced = replaced

    def reload(self) -> Deferred[None]:
        """Accept the token that is in the file now."""
        read: Deferred[tuple[str, FileContent]] = self._reading(read_token, self._path)
        return read.addCallbacks(self._accept, self._keep)

    def _accept(self, result: tuple[str, FileContent]) -> None:
        token, content = result
        self._token.replace(token)
        self._replaced()
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
    replaced: Callable[[], None],
) -> Callable[[], None]:
    """Return a function that reloads everything: *reload*, and the token; *reading*: the thread for files.

    *replaced*: called after the token was read.
    """
    if token is None or settings.admin_token_file is None:
        return reload
    tokens = TokenReload(settings.admin_token_file, token, reading, replaced)

    def both() -> None:
        reload()
        tokens.reload()

    return both
