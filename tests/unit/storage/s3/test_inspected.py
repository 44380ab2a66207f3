"""Inspected objects of a bucket whose answers a test gives."""

from __future__ import annotations

from typing import Any

from attrs import Factory, define
from botocore.exceptions import ClientError
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.s3.failures import explain
from oci_registry.storage.drivers.s3.inspected import InspectedObject
from oci_registry.storage.interfaces import ObjectInfo, StoreError, StoreUnavailable
from tests.support.streams import run_at_once


@define
class Version:
    """What a request for the head of an object finds."""

    etag: str
    size: int = 5


@define
class FakeBucket:
    """Has *versions* of one object, one after the other; reads fail with *error*."""

    versions: list[str]
    error: Exception | None = None
    calls: list[str] = Factory(list)

    def head(self, key: str) -> Any:
        return Version(self.versions.pop(0))

    def copy(self, key: str, target: str, etag: str) -> None:
        self.calls.append("copy")

    def delete(self, key: str) -> None:
        self.calls.append("delete")

    def read(self, *args: object) -> Any:
        assert self.error is not None
        raise explain(self.error, "the bucket") from self.error


def refusal(code: str, status: int) -> ClientError:
    """Return an error of the server."""
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "GetObject")


class Inspected(SynchronousTestCase):
    """One object, of which the version "1" was inspected."""

    def make(self, bucket: FakeBucket) -> InspectedObject:
        info = ObjectInfo("key", 5, 0.0, True)
        found: Any = Version("1")
        return InspectedObject(bucket, info, found, run_at_once, lambda _: None)  # type: ignore[arg-type]

    def test_withdrawing(self) -> None:
        """It is removed only if it is still the same after it was copied."""
        for versions, target, expected, calls in (
            (["1", "1"], "aside", True, ["copy", "delete"]),
            (["1", "2"], "aside", False, ["copy"]),
            (["2"], "aside", False, []),
            (["1"], None, True, ["delete"]),
        ):
            bucket = FakeBucket(list(versions))
            found = self.make(bucket)
            self.assertEqual(expected, self.successResultOf(found.withdraw(target)))
            self.assertEqual(calls, bucket.calls)

    def test_errors(self) -> None:
        """Only some errors are those of the object; others are those of the server or the credentials."""
        for code, status, kind in (
            ("PreconditionFailed", 412, StoreError),
            ("InvalidObjectState", 403, StoreError),
            ("NoSuchKey", 404, StoreError),
            ("AccessDenied", 403, StoreUnavailable),
            ("ExpiredToken", 400, StoreUnavailable),
            ("SlowDown", 503, StoreUnavailable),
        ):
            found = self.make(FakeBucket([], refusal(code, status)))
            failure = self.failureResultOf(found.read(0, 5), StoreError)
            self.assertEqual(kind is StoreUnavailable, failure.check(StoreUnavailable) is not None)
