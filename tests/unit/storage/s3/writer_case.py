"""A bucket in memory, and writers whose uploads continue when the test says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.files import Descriptor
from oci_registry.storage.drivers.s3.bucket import Bucket, Found
from oci_registry.storage.drivers.s3.failures import Absent, AlreadyThere
from oci_registry.storage.drivers.s3.limits import MIB, UploadLimits
from oci_registry.storage.drivers.s3.multipart import Multipart
from oci_registry.storage.drivers.s3.parts import Uploads
from oci_registry.storage.drivers.s3.spool import Slice, open_spool
from oci_registry.storage.drivers.s3.writer import S3Writer
from tests.support.streams import ManualThread, run_at_once

PART = MIB
LIMITS = UploadLimits(part=PART)
KEY = "blobs/x"


def content(size: int) -> bytes:
    """Return bytes of which each part is another."""
    return b"".join(bytes([n]) * PART for n in range(-(-size // PART)))[:size]


class FakeServer:
    """A bucket and its uploads in parts, in memory."""

    def __init__(self) -> None:
        self.connection = SimpleNamespace(place="the bucket")
        self.objects: dict[str, tuple[bytes, bool]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.calls: list[str] = []
        self.failing: Callable[[str], Exception | None] = lambda call: None
        self.supported = True
        self.part_size = Multipart(cast(Any, SimpleNamespace(writing=None)), PART).part_size

    def _call(self, call: str) -> None:
        self.calls.append(call)
        error = self.failing(call)
        if error is not None:
            raise error

    def head(self, key: str) -> Found:
        """Return what is known."""
        self._call("head")
        if key not in self.objects:
            raise Absent(key)
        data, sealed = self.objects[key]
        return Found(b"", len(data), "etag", 0.0, sealed)

    def put_object(self, key: str, body: Slice, size: int, *, replace: bool) -> None:
        """Write at once."""
        self._call(f"put {size}{' over' * replace}")
        self._place(key, body.read(), replace)

    def _place(self, key: str, data: bytes, replace: bool) -> None:
        if key in self.objects and not replace:
            raise AlreadyThere(key)
        self.objects[key] = data, True

    def begin(self, key: str, size: int) -> str:
        """Begin an upload."""
        self._call(f"begin {size}")
        upload = f"upload-{len(self.calls)}"
        self.uploads[upload] = {}
        return upload

    def put(self, key: str, upload: str, number: int, body: Slice, size: int) -> str:
        """Take a part."""
        self._call(f"part {number}")
        if upload not in self.uploads:
            raise Absent(key)
        data = body.read()
        assert len(data) == size
        self.uploads[upload][number] = data
        return f"etag-{number}"

    def complete(self, key: str, upload: str, etags: Sequence[str], *, replace: bool) -> None:
        """Make it an object."""
        self._call(f"complete{' over' * replace}")
        if upload not in self.uploads:
            raise Absent(key)
        assert list(etags) == [f"etag-{number}" for number in range(1, len(etags) + 1)]
        parts = self.uploads[upload]
        self._place(key, b"".join(parts[n] for n in sorted(parts)), replace)
        del self.uploads[upload]

    def abort(self, key: str, upload: str) -> None:
        """Give up."""
        self._call("abort")
        self.uploads.pop(upload, None)


class WriterTestCase(SynchronousTestCase):
    """A writer whose uploads continue one by one, when the test says so."""

    limits = LIMITS

    def setUp(self) -> None:
        self.server = FakeServer()
        self.thread = ManualThread()
        self.committed: list[str] = []
        self.reads_failed = False
        self.spool = self.mktemp()

    def writer(self, size: int | None) -> S3Writer:
        """Return a new one."""
        bucket = SimpleNamespace(head=self.server.head, put=self.server.put_object)
        uploads = Uploads(
            cast(Bucket, bucket),
            cast(Multipart, self.server),
            cast(Any, self.thread),
            lambda call: call(),
            lambda: self.reads_failed,
            self.limits,
        )
        spool = Descriptor(open_spool(self.spool), cast(Any, run_at_once))
        made = S3Writer(uploads, KEY, size, spool, lambda: self.committed.append(KEY))
        self.addCleanup(made.close)
        return made

    def commit(self, made: S3Writer) -> Deferred[None]:
        """Commit, as far as that goes."""
        work = made.commit()
        self.thread.run()
        return work

    def full(self, size: int) -> S3Writer:
        """Return a writer to which everything has been written."""
        made = self.writer(size)
        made.append(content(size))
        return made

    def is_stored(self, size: int) -> None:
        """Check that the whole is there, once, and nothing else is."""
        self.assertTrue(self.server.objects[KEY] == (content(size), True))
        self.assertEqual(self.server.uploads, {})
        self.assertEqual(self.committed, [KEY])
