"""Sentences for what goes wrong with a bucket."""

from __future__ import annotations

from typing import Any, cast

from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.s3.failures import (
    Absent,
    Busy,
    code_of,
    explain,
    is_denied,
    is_unsupported,
    sensible,
    status_of,
)
from oci_registry.storage.interfaces import StoreError, StoreUnavailable
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
            (answered(403, "InvalidAccessKeyId"), "does not know the access key"),
            (answered(403, "SignatureDoesNotMatch"), "the secret key does not match"),
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
            (exceptions.ConnectionClosedError(**URL), "closed the connection"),
            (exceptions.SSLError(error="x", **URL), "certificate of the server is not trusted"),
            (exceptions.NoCredentialsError(), "no credentials found"),
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

    def test_kinds(self) -> None:
        """A server that cannot be reached, one that cannot cope and one that refuses are told apart."""
        for error, kind in (
            (answered(500), Busy),
            (answered(429), Busy),
            (answered(503, "SlowDown"), Busy),
            (exceptions.ConnectTimeoutError(**URL), StoreUnavailable),
            (exceptions.EndpointConnectionError(**URL), StoreUnavailable),
            (exceptions.ReadTimeoutError(**URL), StoreUnavailable),
            (answered(404, "NoSuchKey"), Absent),
            (answered(404, "NoSuchBucket"), StoreError),
            (answered(403), StoreError),
            (answered(507), StoreError),
            (exceptions.NoCredentialsError(), StoreError),
        ):
            self.assertIs(kind, type(explain(error, "bucket b")), error)

    def test_unsupported(self) -> None:
        """What a server has not learnt yet is told from what it forbids."""
        for error in (answered(501), answered(405), answered(400, "NotImplemented")):
            self.assertTrue(is_unsupported(error))
        self.assertFalse(is_unsupported(answered(403, "AccessDenied")))
        self.assertTrue(is_denied(answered(403, "AccessDenied")))
        self.assertFalse(is_denied(answered(403, "InvalidAccessKeyId")))


class Sense(SynchronousTestCase):
    """Answers that are none."""

    def test_nonsense(self) -> None:
        """Whatever is missing in an answer is a failure of the store; what the store says stays."""
        run = sensible(cast(Any, run_at_once), "bucket b")
        for wrong in (KeyError("ETag"), ValueError("1, 1"), ResponseParserError("<"), TypeError()):
            failure = self.failureResultOf(run(_raise, wrong), StoreError)
            self.assertIn("bucket b: the server sent an invalid answer", str(failure.value))
        for right in (StoreError("down"), Absent("a")):
            self.assertIs(right, self.failureResultOf(run(_raise, right)).value)
        self.assertEqual(5, self.successResultOf(run(lambda: 5)))


def _raise(error: Exception) -> None:
    raise error
