"""Strict checks of request heads, and the meaning of request targets (RFC 9112)."""

from __future__ import annotations

import re

from oci_registry.web.refusals import (
    FIELDS_TOO_LARGE,
    MALFORMED,
    TARGET_TOO_LONG,
    WRONG_FRAMING,
    WRONG_HOST,
    WRONG_VERSION,
    Refused,
)

MAX_REQUEST_LINE = 16 * 1024
"""The maximum length of a request line in bytes."""
MAX_FIELDS_SIZE = 64 * 1024
"""The maximum length in bytes of all header lines of a request together, or of a single one."""
MAX_FIELDS = 500
"""The maximum number of header lines of a request."""
MAX_EMPTY_LINES = 8
"""The maximum number of empty lines before a request (RFC 9112 section 2.2)."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_ABSOLUTE = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)
FIELD = re.compile(rb"(%b):([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
"""A header or trailer line: not folded, no white space before the colon."""
HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
# A carriage return may be the first half of the line's end.
_NEVER_IN_LINES = re.compile(rb"[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f]|\r(?!\Z)")
_TRANSFER_ENCODING = b"transfer-encoding"
_CONTENT_LENGTH = b"content-length"
_CHECKED = frozenset((b"host", _TRANSFER_ENCODING, _CONTENT_LENGTH))


def check_begun(part: bytes | bytearray) -> None:
    """Raise `Refused` for bytes that can never become a line, such as a single line feed."""
    if _NEVER_IN_LINES.search(part) is not None:
        raise Refused(MALFORMED)


def origin_form(target: bytes) -> bytes:
    """Return the path and query of a request's target (RFC 9112 section 3.2).

    The authority of a target in absolute form is ignored: this server is not a forward proxy.
    """
    match = _ABSOLUTE.match(target)
    if match is None:
        return target
    rest = target[match.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


class RequestHead:
    """Checks the request heads of a connection, line by line.

    It is stricter than the RFC where a proxy might parse the same bytes differently: nothing is repaired,
    and a message has exactly one length. All methods raise `Refused`.
    """

    def __init__(self) -> None:
        self.empty_lines = 0
        """The empty lines that have arrived since the latest request."""
        self.method = self.target = b"-"
        """Those of the latest request; ``-`` until its request line is understood."""
        self._begin()

    def _begin(self) -> None:
        self._version = b""
        self._size = 0
        self._count = 0
        self._checked: list[tuple[bytes, bytes]] = []

    def take(self, line: bytes) -> bool:
        """Check the next line, without its end; return whether it belongs to a request."""
        if not self._version:
            self.method = self.target = b"-"
            return self._take_first(line)
        if not line:
            self._check_whole()
            self._begin()
            return True
        self._size += len(line) + 2
        self._count += 1
        if self._size > MAX_FIELDS_SIZE or self._count > MAX_FIELDS:
            raise Refused(FIELDS_TOO_LARGE)
        match = FIELD.fullmatch(line)
        if match is None:
            raise Refused(MALFORMED)
        name = match[1].lower()
        if name in _CHECKED:
            self._checked.append((name, match[2].strip(b" \t")))
        return True

    def check_rest(self, part: bytes) -> None:
        """Check the beginning of a line whose end has not arrived."""
        if not self._version:
            self.method = self.target = b"-"
            if len(part) > MAX_REQUEST_LINE:
                raise Refused(TARGET_TOO_LONG)
        elif self._size + len(part) > MAX_FIELDS_SIZE:
            raise Refused(FIELDS_TOO_LARGE)
        check_begun(part)

    def _take_first(self, line: bytes) -> bool:
        if not line:
            self.empty_lines += 1
            if self.empty_lines > MAX_EMPTY_LINES:
                raise Refused(MALFORMED)
            return False
        if len(line) > MAX_REQUEST_LINE:
            raise Refused(TARGET_TOO_LONG)
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            raise Refused(MALFORMED)
        method, target, major, minor = match.groups()
        self.method, self.target = method, target
        if major != b"1" or minor not in b"01":
            raise Refused(WRONG_VERSION)
        if not _is_target(method, target):
            raise Refused(MALFORMED)
        self.empty_lines = 0
        self._version = b"1." + minor
        return True

    def _check_whole(self) -> None:
        """Check the complete head."""
        hosts = [value for name, value in self._checked if name == b"host"]
        if len(hosts) > 1 or (not hosts and self._version == b"1.1"):
            raise Refused(WRONG_HOST)
        if hosts and HOST.fullmatch(hosts[0]) is None:
            raise Refused(WRONG_HOST)
        framing = [(name, value) for name, value in self._checked if name != b"host"]
        if not framing:
            return
        name, value = framing[0]
        if len(framing) > 1:
            raise Refused(WRONG_FRAMING)
        if name == _CONTENT_LENGTH and _LENGTH.fullmatch(value) is None:
            raise Refused(WRONG_FRAMING)
        if name == _TRANSFER_ENCODING and (value.lower() != b"chunked" or self._version == b"1.0"):
            raise Refused(WRONG_FRAMING)


def _is_target(method: bytes, target: bytes) -> bool:
    """Whether a request with this method may have this target (RFC 9112 section 3.2)."""
    if target.startswith(b"/") or _ABSOLUTE.match(target) is not None:
        return True
    # Well-formed targets that get an error response later.
    return method == b"CONNECT" or target == b"*"
