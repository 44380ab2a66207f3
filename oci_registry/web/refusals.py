"""Responses to malformed requests, which are sent without asking any resource."""

from __future__ import annotations


def _answer(status: bytes, text: bytes) -> bytes:
    """Return a response after which the connection is closed (RFC 9112 section 9.6)."""
    body = text + b"\n"
    return (
        b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b" % (status, len(body), body)
    )


NOT_PLAIN = _answer(b"400 Bad Request", b"This port speaks plain HTTP")
MALFORMED = _answer(b"400 Bad Request", b"This is not a request that HTTP/1.1 allows")
WRONG_HOST = _answer(b"400 Bad Request", b"There must be one valid Host header")
WRONG_FRAMING = _answer(b"400 Bad Request", b"The length of the body is not clear")
BODY_TOO_LARGE = _answer(b"413 Content Too Large", b"Nothing is uploaded here")
TARGET_TOO_LONG = _answer(b"414 URI Too Long", b"The request line is too long")
FIELDS_TOO_LARGE = _answer(
    b"431 Request Header Fields Too Large", b"The headers are too many or too long"
)
WRONG_VERSION = _answer(b"505 HTTP Version Not Supported", b"This port speaks HTTP/1.1")


class Refused(Exception):
    """The request is refused. *answer*: the response to send before the connection is closed."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer.partition(b"\r\n")[0].decode("ascii"))
        self.answer = answer
