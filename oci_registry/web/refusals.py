"""Responses to malformed requests, which are sent without asking any resource."""

from __future__ import annotations

from attrs import frozen


@frozen
class Refusal:
    """A response after which the connection is closed (RFC 9112 section 9.6).

    *reason*: for the log, and its body as plain text, unless *document* is a body in JSON.
    """

    status: int
    phrase: str
    reason: str
    document: bytes | None = None

    @property
    def body(self) -> bytes:
        """The body of the response."""
        return f"{self.reason}\n".encode() if self.document is None else self.document

    @property
    def response(self) -> bytes:
        """The bytes of the response."""
        kind = "text/plain" if self.document is None else "application/json"
        head = f"HTTP/1.1 {self.status} {self.phrase}\r\nContent-Type: {kind}\r\n"
        fields = f"Content-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        return f"{head}{fields}".encode() + self.body


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
