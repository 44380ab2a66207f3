"""Sentences for what goes wrong with a bucket, and when it is left alone."""

from __future__ import annotations

from typing import Any, cast

from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.s3.failures import (
    ASIDE,
    Absent,
    Outage,
    code_of,
    explain,
    is_outage,
    sensible,
    status_of,
)
from oci_registry.storage.interfaces import StoreError
from tests.support.streams import run_at_once

URL = {"endpoint_url": "http://user:secret@host/"}


def answered(status: int, code: str = "", message: str = "") -> ClientError:
    """Return the error that boto3 makes of an answer."""
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "GetObject")


class Sentences(SynchronousTestCase):
    """What the operator reads."""

    def test_answers(self) -> None:
        """A refusal says what is refused, and by which code."""
        for error, part in (
            (answered(403, "AccessDenied"), "access is denied to these credentials (AccessDenied)"),
            (answered(403, "403", "Forbidden"), "access is denied (403)"),
            (answered(403, "InvalidAccessKeyId"), "the access key is not known"),
            (answered(403, "SignatureDoesNotMatch"), "the secret key does not fit"),
            (answered(404, "NoSuchBucket"), "the bucket does not exist"),
            (answered(418), "bucket b: the server answered 418"),
            (answered(301, "PermanentRedirect"), "another region"),
            (answered(503, "SlowDown"), "asks to slow down"),
            (answered(507, "XMinioStorageFull"), "No space left"),
            (answered(400, "Odd", "some reason"), "the server answered 400 'Odd' 'some reason'"),
        ):
            said = str(explain(error, "bucket b"))
            self.assertIn(part, said)
            self.assertTrue(said.startswith("bucket b: "))

    def test_no_answer(self) -> None:
        """What kept the server from answering is told apart, without any address."""
        for error, part in (
            (exceptions.ConnectTimeoutError(**URL), "does not answer in time"),
            (exceptions.ReadTimeoutError(**URL), "does not answer in time"),
            (exceptions.EndpointConnectionError(**URL), "cannot be reached"),
            (exceptions.ConnectionClosedError(**URL), "broke off the connection"),
            (exceptions.SSLError(error="x", **URL), "certificate of the server is not trusted"),
            (exceptions.NoCredentialsError(), "there are no credentials"),
            (ValueError("secret"), "the request failed (ValueError)"),
        ):
            said = str(explain(error, "bucket b"))
            self.assertIn(part, said)
            self.assertNotIn("secret", said)

    def test_hostile_answers(self) -> None:
        """A server's own words are cut, and hold no control characters."""
        said = str(explain(answered(400, "A\r\nB" * 100, "\x1b[2J" * 1000), "bucket b"))
        self.assertLess(len(said), 400)
        self.assertTrue(said.isprintable(), said)

    def test_already_explained(self) -> None:
        """What is a StoreError stays as it is."""
        error = StoreError("x")
        self.assertIs(explain(error, "bucket b"), error)

    def test_what_is_known(self) -> None:
        """Status and code are those of the answer, and nothing where there was none."""
        self.assertEqual((status_of(answered(404, "X")), code_of(answered(404, "X"))), (404, "X"))
        for error in (None, ValueError(), ClientError({}, "GetObject")):
            self.assertEqual((status_of(error), code_of(error)), (0, ""))

    def test_outages(self) -> None:
        """A server that is down or overloaded is an outage; one that says no is not."""
        for error in (
            answered(500),
            answered(503, "SlowDown"),
            exceptions.ConnectTimeoutError(**URL),
            exceptions.EndpointConnectionError(**URL),
            exceptions.ReadTimeoutError(**URL),
        ):
            self.assertTrue(is_outage(error), error)
        for other in (answered(403), answered(404), answered(507), exceptions.NoCredentialsError()):
            self.assertFalse(is_outage(other), other)


class Breaker(SynchronousTestCase):
    """A server that fails is left alone for a while."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.outage = Outage(self.clock.seconds)

    def is_open(self) -> bool:
        """Whether a request is let through."""
        try:
            self.outage.check()
        except StoreError as error:
            self.assertIn("reset", str(error))
            return False
        return True

    def test_left_alone(self) -> None:
        """After a failure nobody asks, until one request finds out; if it fails, all over again."""
        self.assertTrue(self.is_open())
        self.outage.began(StoreError("reset"))
        for _ in range(3):
            self.assertFalse(self.is_open())
            self.clock.advance(ASIDE)
            self.assertEqual([self.is_open() for _ in range(3)], [True, False, False])
            self.outage.began(StoreError("reset"))

    def test_recovered(self) -> None:
        """An answer opens it for all."""
        self.outage.began(StoreError("reset"))
        self.clock.advance(ASIDE)
        self.assertTrue(self.is_open())
        self.outage.ended()
        self.assertTrue(self.is_open())

    def test_no_answer_to_the_probe(self) -> None:
        """If nothing is heard of the one that is to find out, another one is let through."""
        self.outage.began(StoreError("reset"))
        self.clock.advance(ASIDE)
        self.assertTrue(self.is_open())
        self.clock.advance(ASIDE)
        self.assertTrue(self.is_open())


class Sense(SynchronousTestCase):
    """Answers that are none."""

    def test_nonsense(self) -> None:
        """Whatever is missing in an answer is a failure of the store; what the store says stays."""
        run = sensible(cast(Any, run_at_once), "bucket b")
        for wrong in (KeyError("ETag"), ValueError("1, 1"), ResponseParserError("<"), TypeError()):
            failure = self.failureResultOf(run(_raise, wrong), StoreError)
            self.assertIn("bucket b: the server's answer makes no sense", str(failure.value))
        for right in (StoreError("down"), Absent("a")):
            self.assertIs(right, self.failureResultOf(run(_raise, right)).value)
        self.assertEqual(5, self.successResultOf(run(lambda: 5)))


def _raise(error: Exception) -> None:
    raise error
