"""The objects of one bucket: the requests that the driver makes, as blocking calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from attrs import frozen
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from oci_registry.spec.mediatypes import OCTET_STREAM
from oci_registry.spec.ranges import parse_content_range
from oci_registry.storage.drivers.s3.connection import Connection
from oci_registry.storage.drivers.s3.failures import (
    UNSUPPORTED,
    Absent,
    code_of,
    explain,
    is_unsupported,
    status_of,
)
from oci_registry.storage.drivers.s3.reading import read_body
from oci_registry.storage.interfaces import StoreError

LINK_LIFETIME = 900
"""Seconds for which a presigned URL is valid."""
DELETED_AT_ONCE = 1000
"""The maximum number of objects that S3 removes in one request."""
_SEALED = "oci-registry-size"
_OWNER = "oci-registry-owner"
# The server copies up to 5 GiB in one request.
_COPYING = TransferConfig(
    multipart_threshold=5 * 1024**3, multipart_chunksize=512 * 1024**2, use_threads=False
)


@frozen
class Found:
    """An object, or a part of it. *size* in bytes, of the whole; *modified*: seconds since the epoch."""

    data: bytes
    size: int
    etag: str
    modified: float
    sealed: bool


@frozen
class Listed:
    """An object in a listing."""

    key: str
    size: int
    modified: float


def seal_of(size: int) -> dict[str, str]:
    """Return the metadata of our objects: the size, which shows whether an object is truncated."""
    return {_SEALED: str(size)}


def _found(answer: Mapping[str, Any], data: bytes, size: int) -> Found:
    metadata = answer.get("Metadata") or {}
    return Found(
        data,
        size,
        str(answer.get("ETag", "")),
        answer["LastModified"].timestamp(),
        metadata.get(_SEALED) == str(size),
    )


def _age(modified: datetime, date: str) -> float:
    """Return the seconds from *modified* to the *date* of the same response."""
    try:
        return (parsedate_to_datetime(date) - modified).total_seconds()
    except (TypeError, ValueError):
        return float("inf")


class Bucket:
    """The objects below the prefix of one bucket. Everything blocks and raises `StoreError`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._place = connection.place
        self._prefix = connection.prefix
        self._batches = True

    # -- reading

    def head(self, key: str) -> Found:
        """Return what is known of an object, without its bytes. Raises `Absent`."""
        return self.connection.retries.run(self._head, key)

    def _head(self, key: str) -> Found:
        answer = self.connection.request_object(self.connection.reading.head_object, key)
        return _found(answer, b"", int(answer["ContentLength"]))

    def read(
        self,
        key: str,
        start: int,
        stop: int,
        etag: str | None = None,
        deadline: float | None = None,
    ) -> Found:
        """Return the bytes of an object from *start* to *stop* (exclusive), fewer at its end.

        *etag*: the required version. *deadline*: in seconds, in place of the default. Raises `Absent`.
        """
        return self.connection.retries.run(self._read, key, start, stop, etag, deadline)

    def _read(
        self, key: str, start: int, stop: int, etag: str | None, deadline: float | None
    ) -> Found:
        pace = self.connection.retries.pace(deadline)
        condition = {} if etag is None else {"IfMatch": etag}
        try:
            answer = self.connection.request_object(
                self.connection.reading.get_object,
                key,
                Range=f"bytes={start}-{stop - 1}",
                **condition,
            )
        except StoreError as error:
            if status_of(error.__cause__) != 416:
                raise
            # The object is empty, or shorter than expected.
            return self._head(key)
        body = answer["Body"]
        part = parse_content_range(answer.get("ContentRange"))
        if part is None:
            # The server ignores the range and sends the whole object.
            size = int(answer["ContentLength"])
            data = read_body(body, min(stop, size), pace, self._place)
            return _found(answer, data[start:], size)
        first, end, whole = part
        if first != start or end > stop or whole is None:
            body.close()
            raise StoreError(f"{self._place}: the server did not send the requested range")
        return _found(answer, read_body(body, end - first, pace, self._place), whole)

    def get(self, key: str, limit: int, deadline: float | None = None) -> bytes:
        """Return a whole object. Raises `Absent`, also for one of more than *limit* bytes.

        *deadline*: in seconds, in place of the default.
        """
        return self.connection.retries.run(self._get, key, limit, deadline)

    def _get(self, key: str, limit: int, deadline: float | None) -> bytes:
        pace = self.connection.retries.pace(deadline)
        answer = self.connection.request_object(self.connection.reading.get_object, key)
        size = int(answer["ContentLength"])
        if size > limit:
            answer["Body"].close()
            raise Absent(key)
        return read_body(answer["Body"], size, pace, self._place)

    # -- writing

    def put(self, key: str, body: object, size: int, *, replace: bool) -> None:
        """Write an object of *size* bytes in one request. *body*: bytes or a file.

        Raises `AlreadyThere` if the object exists, unless *replace*.
        """
        ask = self.connection.request_object if replace else self.connection.if_absent
        ask(
            self.connection.writing.put_object,
            key,
            Body=body,
            ContentLength=size,
            ContentType=OCTET_STREAM,
            Metadata=seal_of(size),
        )

    def probe(self, key: str) -> None:
        """Write a small object and remove it, with the deadlines of a read."""
        quick = self.connection.reading
        for operation, arguments in (
            (quick.put_object, {"Body": b"probe"}),
            (quick.delete_object, {}),
        ):
            ask = partial(self.connection.request_object, operation, key, **arguments)
            self.connection.retries.run(ask)

    def seal(self, key: str) -> None:
        """Mark an object as verified, by copying it onto itself. Raises `Absent`."""
        found = self.head(key)
        if found.sealed:
            return
        marks = {
            "Metadata": seal_of(found.size),
            "MetadataDirective": "REPLACE",
            "ContentType": OCTET_STREAM,
            "CopySourceIfMatch": found.etag,
        }

        def copy(Bucket: str, Key: str) -> None:
            here = {"Bucket": Bucket, "Key": Key}
            self.connection.writing.copy(here, Bucket, Key, ExtraArgs=marks, Config=_COPYING)

        self.connection.request_object(copy, key)

    def copy(self, key: str, target: str, etag: str) -> None:
        """Copy this version of an object to another key, without its mark. Raises `Absent`."""
        marks = {
            "Metadata": {},
            "MetadataDirective": "REPLACE",
            "ContentType": OCTET_STREAM,
            "CopySourceIfMatch": etag,
        }
        whence = {"Bucket": self.connection.bucket, "Key": self._prefix + key}

        def copy(Bucket: str, Key: str) -> None:
            self.connection.writing.copy(whence, Bucket, Key, ExtraArgs=marks, Config=_COPYING)

        self.connection.request_object(copy, target)

    def claim(self, key: str, seconds: float, owner: str = "") -> bool:
        """Claim *key*, unless it was claimed less than so many seconds ago; return whether that worked.

        *owner*: the claim lasts as long as the same owner repeats it in time. ASCII, without blanks.
        Both times are the server's, so the clocks of replicas may differ. If several claim it at once,
        exactly one succeeds, if the server supports conditional requests.
        """
        writing = self.connection.writing
        try:
            answer = self.connection.request_object(self.connection.reading.head_object, key)
        except Absent:
            condition = {"IfNoneMatch": "*"}
        else:
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
            ours = bool(owner) and (answer.get("Metadata") or {}).get(_OWNER) == owner
            if _age(answer["LastModified"], date) < seconds and not ours:
                return False
            condition = {"IfMatch": str(answer["ETag"])}
        marks = {"Metadata": {_OWNER: owner}} if owner else {}
        try:
            self.connection.call(
                writing.put_object,
                Key=self._prefix + key,
                Body=owner.encode(),
                **marks,
                **condition,
            )
        except ClientError as error:
            if status_of(error) in (404, 409, 412):
                return False
            if code_of(error) not in UNSUPPORTED:
                raise explain(error, self._place) from error
            self.connection.request_object(writing.put_object, key, Body=owner.encode(), **marks)
        return True

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        try:
            self.connection.request_object(self.connection.writing.delete_object, key)
        except Absent:
            return

    def delete_many(self, keys: Sequence[str]) -> list[str]:
        """Remove objects; return those that no longer exist."""
        gone: list[str] = []
        for first in range(0, len(keys), DELETED_AT_ONCE):
            batch = keys[first : first + DELETED_AT_ONCE]
            left = self._delete_batch(batch) if self._batches else None
            if left is None:
                for key in batch:
                    self.delete(key)
                left = set()
            gone += [key for key in batch if key not in left]
        return gone

    def _delete_batch(self, keys: Sequence[str]) -> set[str] | None:
        """Remove objects in one request; return those that remain, None if that is not supported."""
        objects = [{"Key": self._prefix + key} for key in keys]
        delete = self.connection.writing.delete_objects
        try:
            answer = self.connection.call(delete, Delete={"Objects": objects, "Quiet": True})
        except ClientError as error:
            if not is_unsupported(error):
                raise explain(error, self._place) from error
            self._batches = False
            return None
        errors = answer.get("Errors", ())
        return {str(error.get("Key", "")).removeprefix(self._prefix) for error in errors}

    # -- listing and linking

    def page(
        self, prefix: str, token: str | None, after: str = ""
    ) -> tuple[list[Listed], str | None]:
        """Return some objects below *prefix*, and the token of the next page, None at the end.

        They are in the order of their keys; the first page begins with the first key after *after*.
        """
        further = {} if token is None else {"ContinuationToken": token}
        if after and token is None:
            further = {"StartAfter": self._prefix + after}
        answer = self.connection.request(
            self.connection.writing.list_objects_v2,
            Prefix=f"{self._prefix}{prefix}/",
            **further,
        )
        listed = [
            Listed(
                str(item["Key"]).removeprefix(self._prefix),
                int(item["Size"]),
                item["LastModified"].timestamp(),
            )
            for item in answer.get("Contents", ())
        ]
        return listed, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None

    def keys(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """Return some keys that begin with *prefix*, in order, after *after*, and whether there are more."""
        later = {"StartAfter": self._prefix + after} if after else {}
        answer = self.connection.request(
            self.connection.writing.list_objects_v2, Prefix=self._prefix + prefix, **later
        )
        keys = [str(item["Key"]).removeprefix(self._prefix) for item in answer.get("Contents", ())]
        return keys, bool(answer.get("IsTruncated")) and bool(keys)

    def link(self, key: str) -> str | None:
        """Return a URL at which anyone can fetch an object for `LINK_LIFETIME` seconds, if that is enabled."""
        if self.connection.public is None:
            return None
        try:
            url: str = self.connection.public.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.connection.bucket, "Key": self._prefix + key},
                ExpiresIn=LINK_LIFETIME,
            )
        except BotoCoreError as error:
            raise explain(error, self._place) from error
        return url
