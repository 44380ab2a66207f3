"""Responses to malformed requests, which are sent without asking any resource."""

from __future__ import annotations

from attrs import frozen


@frozen
class Refusal:
    """A response after which the connection is closed (RFC 9112 section 9.6). *reason*: its body."""

    status: int
    phrase: str
    reason: str

    @property
    def response(self) -> bytes:
        """The bytes of the response."""
        body = f"{self.reason}\n"
        head = f"HTTP/1.1 {self.status} {self.phrase}\r\nContent-Type: text/plain\r\n"
        return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


NOT_PLAIN = Refusal(400, "Bad Request", "This port speaks plain HTTP")
MALFORMED = Refusal(400, "Bad Request", "This is not a valid HTTP/1.1 request")
WRONG_HOST = Refusal(400, "Bad Request", "There must be one valid Host header")
WRONG_FRAMING = Refusal(400, "Bad Request", "The length of the body is ambiguous")
BODY_TOO_LARGE = Refusal(413, "Content Too Large", "Uploads are not supported")
TARGET_TOO_LONG = Refusal(414, "URI Too Long", "The request line is too long")
FIELDS_TOO_LARGE = Refusal(
    431, "Request Header Fields Too Large", "The headers are too many or too long"
)
WRONG_VERSION = Refusal(505, "HTTP Version Not Supported", "This port speaks HTTP/1.1")


class Refused(Exception):
    """The request is refused. *refusal*: the response to send before the connection is closed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"HTTP/1.1 {refusal.status} {refusal.phrase}")
        self.refusal = refusal
