"""Error pages, with advice on what to change."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.web.template import Tag

from oci_registry.admin.page.frame import plain
from oci_registry.admin.page.markup import Node, el, foreign
from oci_registry.admin.problems import Forbidden, TokenNotSet, TokenRequired
from oci_registry.spec.errors import RegistryError


def refused(error: RegistryError, up: str) -> Tag:
    """Return the page for an error."""
    return plain(_title(error), _content(error), up=up)


def _title(error: RegistryError) -> str:
    if isinstance(error, TokenNotSet):
        return "This listener has no token"
    if isinstance(error, TokenRequired):
        return "The token is needed"
    return {404: "Nothing here", 405: "Not possible here", 503: "Not now"}.get(
        error.status, "That did not work"
    )


def _content(error: RegistryError) -> Iterator[Node]:
    yield el("p", foreign(error.message, 1000))
    if isinstance(error, TokenNotSet):
        yield el(
            "p",
            "The status page and the API are served on TCP only with a token. Write one into a file, "
            "which only the daemon may read, and start the daemon with ",
            el("code", "--admin-token-file FILE"),
            ":",
        )
        yield el("pre", el("code", "(umask 077; openssl rand -hex 32 > admin-token)"))
        yield el(
            "p",
            "Without a token they are on the socket ",
            el("code", "admin.sock"),
            " in the directory of the store, for the user of the daemon.",
        )
    elif isinstance(error, TokenRequired):
        yield el(
            "p",
            "Reload the page, and enter the content of the file of ",
            el("code", "--admin-token-file"),
            " as the password. The user name does not matter.",
        )
    elif isinstance(error, Forbidden):
        yield el(
            "p",
            "If a proxy is in front of this page, it has to pass on the header ",
            el("code", "Host"),
            " as the browser has sent it.",
        )
