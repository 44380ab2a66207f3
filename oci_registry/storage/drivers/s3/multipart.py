"""S3 multipart uploads: an object becomes visible when its upload is completed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oci_registry.spec.mediatypes import OCTET_STREAM
from oci_registry.storage.drivers.s3.bucket import seal_of
from oci_registry.storage.drivers.s3.connection import Connection
from oci_registry.storage.drivers.s3.failures import Absent, Unsupported, is_unsupported
from oci_registry.storage.drivers.s3.limits import DEFAULTS, MIB
from oci_registry.storage.interfaces import StoreError

MAX_PARTS = 10_000
"""The maximum number of parts of an object; a part has at most 5 GiB."""


class Multipart:
    """The multipart uploads of one bucket. Requests block and raise `StoreError`.

    *part*: the usual size of a part in bytes.
    """

    def __init__(self, connection: Connection, part: int = DEFAULTS.uploads.part) -> None:
        self.supported = True
        """Whether the server supports multipart uploads, as far as we know."""
        self._connection = connection
        self._client = connection.writing
        self._part = part

    def part_size(self, size: int) -> int:
        """Return the size of the parts of an object of *size* bytes, in bytes; it is in whole MiB."""
        least = -(-size // MAX_PARTS)
        return max(self._part, -(-least // MIB) * MIB)

    def begin(self, key: str, size: int) -> str:
        """Begin an upload of an object of *size* bytes; return its identifier. Raises `Unsupported`."""
        try:
            answer = self._connection.request_object(
                self._client.create_multipart_upload,
                key,
                ContentType=OCTET_STREAM,
                Metadata=seal_of(size),
            )
        except StoreError as error:
            if not is_unsupported(error.__cause__):
                raise
            raise Unsupported(str(error)) from error
        return str(answer["UploadId"])

    def put(self, key: str, upload: str, number: int, body: object, size: int) -> str:
        """Upload a part of *size* bytes; return its etag. *number* counts from 1."""
        answer = self._connection.request_object(
            self._client.upload_part,
            key,
            UploadId=upload,
            PartNumber=number,
            Body=body,
            ContentLength=size,
        )
        return str(answer["ETag"])

    def complete(self, key: str, upload: str, etags: Sequence[str], *, replace: bool) -> None:
        """Complete an upload. Raises `AlreadyThere` if the object exists, unless *replace*.

        `Absent`: there is no such upload, perhaps because it is complete already.
        """
        parts = [{"ETag": etag, "PartNumber": number} for number, etag in enumerate(etags, 1)]
        ask = self._connection.request_object if replace else self._connection.if_absent
        ask(
            self._client.complete_multipart_upload,
            key,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
        )

    def abort(self, key: str, upload: str) -> None:
        """Abort an upload and remove its parts."""
        try:
            self._connection.request_object(
                self._client.abort_multipart_upload, key, UploadId=upload
            )
        except Absent:
            return

    def unfinished(self) -> Iterator[tuple[str, str, float]]:
        """Yield key, identifier and start, in seconds since the epoch, of all unfinished uploads."""
        pages = self._connection.pages(
            self._client.list_multipart_uploads, "KeyMarker", "UploadIdMarker"
        )
        for page in pages:
            for upload in page.get("Uploads", ()):
                key = str(upload["Key"]).removeprefix(self._connection.prefix)
                yield key, str(upload["UploadId"]), upload["Initiated"].timestamp()
