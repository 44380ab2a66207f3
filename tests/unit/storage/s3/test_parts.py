"""Objects that exist already, and servers without multipart uploads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from oci_registry.storage.drivers.s3.failures import Unsupported
from oci_registry.storage.drivers.s3.limits import UploadLimits
from oci_registry.storage.drivers.s3.parts import PartsUpload
from oci_registry.storage.interfaces import StoreError
from tests.unit.storage.s3.writer_case import KEY, PART, WriterTestCase, content


class AfterFailedReads(WriterTestCase):
    """Reads have failed, so that an object may be fetched although it is there."""

    def setUp(self) -> None:
        super().setUp()
        self.reads_failed = True

    def test_there(self) -> None:
        """What is there is not uploaded again: neither in parts nor as a whole."""
        for size in (PART, 3 * PART):
            self.setUp()
            self.server.objects[KEY] = content(size), True
            self.successResultOf(self.commit(self.full(size)))
            self.assertEqual({"head"}, set(self.server.calls))
            self.is_stored(size)

    def test_not_there(self) -> None:
        """What is not there, or another, is uploaded."""
        for there in (None, (b"short", True), (content(3 * PART), False)):
            for size in (PART, 3 * PART):
                self.setUp()
                if there is not None:
                    self.server.objects[KEY] = there
                self.successResultOf(self.commit(self.full(size)))
                self.is_stored(size)

    def test_removed_meanwhile(self) -> None:
        """What was there before the first part, but is not at the commit, is uploaded then."""
        self.server.objects[KEY] = content(3 * PART), True
        made = self.full(3 * PART)
        self.thread.run()
        self.assertEqual(["head"], self.server.calls)
        del self.server.objects[KEY]
        self.reads_failed = False
        self.successResultOf(self.commit(made))
        self.is_stored(3 * PART)

    def test_cannot_be_looked_for(self) -> None:
        """Where looking fails as well, it is uploaded."""
        self.server.failing = lambda call: StoreError("down") if call == "head" else None
        self.successResultOf(self.commit(self.full(3 * PART)))
        self.is_stored(3 * PART)


class WithoutParts(WriterTestCase):
    """The server does not support multipart uploads."""

    def test_whole(self) -> None:
        """A large object is put in one request when it is complete; that is logged once."""
        self.server.failing = lambda call: (
            Unsupported("no parts") if call.startswith("begin") else None
        )
        logged = self.capture()
        for size in (3 * PART, None):
            made = self.writer(size)
            made.append(content(3 * PART))
            self.thread.run()
            self.successResultOf(self.commit(made))
            self.assertEqual(f"put {3 * PART}", self.server.calls[-1])
            del self.server.objects[KEY]
        begun = [call for call in self.server.calls if call.startswith("begin")]
        self.assertLessEqual(len(begun), 2)
        self.assertEqual(1, len(logged))
        self.assertFalse(self.server.supported)

    def capture(self) -> list[Any]:
        """Return a list that gets what is logged."""
        logged: list[Any] = []
        self.patch(PartsUpload, "_log", SimpleNamespace(warn=lambda *a, **_: logged.append(a)))
        return logged

    def test_too_large(self) -> None:
        """What no single request takes cannot be stored."""
        self.limits = UploadLimits(part=PART, single=PART)
        self.server.supported = False
        self.failureResultOf(self.commit(self.full(2 * PART)), StoreError)
