"""Exceptions as responses."""

from __future__ import annotations

import json

from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel

from oci_registry.spec.errors import (
    BlobUnknown,
    Denied,
    GatewayTimeout,
    NameInvalid,
    RangeInvalid,
    RegistryError,
    TooManyRequests,
)
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.send import ConsumerGone
from oci_registry.web.errors import respond_error
from oci_registry.web.site import RegistryRequest
from tests.support.reports import Lines
from tests.unit.web.support import Answer, WebTestCase


class Errors(WebTestCase):
    """`respond_error`, before and after the headers."""

    def setUp(self) -> None:
        super().setUp()
        self.requests: list[RegistryRequest] = []
        self.lines = Lines(self)
        self.serve(self.requests.append)

    def fail(self, error: Exception | None = None, method: str = "GET") -> Answer:  # type: ignore[override]
        connection = self.ask("/x", method)
        assert error is not None
        respond_error(self.requests[-1], error)
        return connection.answer(method)

    def test_registry_errors(self) -> None:
        """Status, code and message are the error's, as OCI JSON with a length."""
        errors: tuple[RegistryError, ...] = (
            NameInvalid("no"),
            BlobUnknown("no"),
            Denied("no"),
            GatewayTimeout("no"),
            TransferFailed("no"),
        )
        for error in errors:
            answer = self.fail(error)
            self.assertEqual((error.status, error.code), (answer.status, answer.code))
            self.assertEqual("no", json.loads(answer.body)["errors"][0]["message"])
            self.assertEqual("application/json", answer.headers["content-type"])
            self.assertEqual(str(len(answer.body)), answer.headers["content-length"])

    def test_head(self) -> None:
        """The error of a HEAD has headers only."""
        answer = self.fail(BlobUnknown("no"), "HEAD")
        self.assertEqual((404, b""), (answer.status, answer.body))
        self.assertNotEqual("0", answer.headers["content-length"])

    def test_headers_of_the_error(self) -> None:
        """The error brings headers of its own, beside those that the request has already."""
        self.assertEqual(
            "17", self.fail(TooManyRequests.retry_after("no", 17)).headers["retry-after"]
        )
        self.assertEqual("bytes */9", self.fail(RangeInvalid.beyond(9)).headers["content-range"])

    def test_our_own_fault(self) -> None:
        """A defect is a 500 that says nothing about it; the log says all."""
        try:
            raise ZeroDivisionError("secret detail")
        except ZeroDivisionError as error:
            answer = self.fail(error)
        self.assertEqual((500, "UNKNOWN"), (answer.status, answer.code))
        self.assertNotIn(b"secret", answer.body)
        self.assertNotIn(b"ZeroDivision", answer.body)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_secrets_of_the_client(self) -> None:
        """The line about a defect shows a request as the access log does."""
        self.ask("//me:secret@x/?token=secret&n=1")
        try:
            raise ZeroDivisionError("no")
        except ZeroDivisionError as error:
            respond_error(self.requests[-1], error)
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(["GET //***@x/?token=***&n=1 failed"], self.lines.of(LogLevel.critical))

    def test_after_the_headers(self) -> None:
        """Once the headers are out the connection is closed in order, short of its length."""
        for error in (TransferFailed("no"), BlobUnknown("no"), OSError("no")):
            connection = self.ask("/x")
            self.requests[-1].setHeader(b"Content-Length", b"100")
            self.requests[-1].write(b"part")
            before = connection.got
            respond_error(self.requests[-1], error)
            self.assertEqual(before, connection.got)
            self.assertTrue(connection.transport.disconnecting)
            self.assertFalse(connection.transport.aborted)

    def test_logged_once(self) -> None:
        """A failed transfer has been logged for all of its readers; anything else is logged here."""
        self.cut(TransferFailed("no"), OSError("no"))
        self.assertEqual(["a response was cut short: UNKNOWN: OSError: no"], self.lines.warnings)

    def test_logged_rarely(self) -> None:
        """However many responses are cut short, there are few lines, and no secrets in them."""
        self.cut(*(OSError(f"{n:04} https://x/?Signature=s3cret") for n in range(1000)))
        self.assertEqual(1, len(self.lines.warnings))
        self.cut(*(OSError(f"reason{n}") for n in range(100)))
        self.assertEqual(10, len(self.lines.warnings))
        self.assertNotIn("s3cret", "".join(self.lines.warnings))

    def cut(self, *errors: Exception) -> None:
        """Let responses fail after their headers."""
        for error in errors:
            self.ask("/x")
            self.requests[-1].write(b"part")
            respond_error(self.requests[-1], error)

    def test_client_that_has_left(self) -> None:
        """A client that has left is not answered, and that is no error."""
        connection = self.ask("/x")
        connection.leave()
        respond_error(self.requests[0], BlobUnknown("no"))
        respond_error(self.requests[0], OSError("no"))
        for error in (CancelledError(), ConsumerGone()):
            connection = self.ask("/x")
            respond_error(self.requests[-1], error)
            self.assertEqual(b"", connection.got)
