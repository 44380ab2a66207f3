"""Options of the admin API: where it listens besides the store, and its token."""

from __future__ import annotations

import re
from collections.abc import Sequence

from oci_registry.config.files import FileContent, read_secret
from oci_registry.config.listen import is_socket
from oci_registry.config.options import OptionReader

NONE = "none"
"""As an endpoint: no socket in the directory of the store."""
SHORTEST = 16
"""The minimum length of a token in characters: a shorter one could be guessed."""
LONGEST = 4096
"""The maximum length of a token in characters."""
# The characters of a bearer token (RFC 6750 section 2.1).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def read_token(path: str) -> tuple[str, FileContent]:
    """Return the token in a file, and the file. White space around the token is ignored.

    `ValueError` says what is wrong, without any of the content.
    """
    token, content = read_secret(path, str.strip)
    if len(token) < SHORTEST:
        raise ValueError(f"the token has fewer than {SHORTEST} characters")
    if len(token) > LONGEST:
        raise ValueError(f"the token has more than {LONGEST} characters")
    if _TOKEN.fullmatch(token) is None:
        raise ValueError("the token may contain only letters, digits and ._~+/- with = at its end")
    return token, content


def load_token(options: OptionReader, endpoints: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the token's file and the token, both None if there is none; *endpoints*: those of the API."""
    name = "admin-token-file"
    path = options.given(name)
    if path is None:
        return None, None
    try:
        token, content = read_token(path)
    except ValueError as error:
        options.problem(name, f"{path}: {error}")
        return None, None
    options.warn_if_exposed(name, path, content)
    if all(map(is_socket, endpoints)):
        options.warning(name, "the token is not used: give --admin-listen a TCP port")
    return path, token
