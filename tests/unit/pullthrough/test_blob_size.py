"""HEAD of blobs: from what is known, and from upstream."""

from __future__ import annotations

from oci_registry.pullthrough.blob_size import CHECK_TIMEOUT, SIZE_TIMEOUT
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    Denied,
    GatewayTimeout,
    RegistryError,
    TooManyRequests,
    Unavailable,
)
from oci_registry.storage.keys import blob_key
from oci_registry.upstream.errors import WrongAnswer
from tests.unit.pullthrough.blob_case import DATA, HintTestCase

FAILURES = (
    BadGateway("500"),
    WrongAnswer("405"),
    GatewayTimeout("504"),
    Unavailable("503"),
    TooManyRequests("429"),
)


class SizeTestCase(HintTestCase):
    """One blob upstream."""

    def size(self, digest: Digest | None = None) -> int:
        size: int = self.now(self.blobs.size(self.target, digest or self.digest)).size
        return size

    def refused(self, kind: type[RegistryError]) -> None:
        self.fails(self.blobs.size(self.target, self.digest), kind)

    def asked(self) -> list[str]:
        """Return the methods that upstream was asked with since the last call."""
        asked = [question.split(" ")[0] for question in self.upstream.asked]
        self.upstream.asked.clear()
        return asked


class Known(SizeTestCase):
    """Upstream need not be asked."""

    def pulled(self) -> None:
        self.open().close()
        self.finish()
        self.asked()

    def test_warm(self) -> None:
        """The size of a stored blob is known."""
        self.pulled()
        self.assertEqual(len(DATA), self.size())
        self.assertEqual([], self.asked())

    def test_under_way(self) -> None:
        """The size of a blob under way is known."""
        self.open()
        self.assertEqual(len(DATA), self.size())
        self.assertEqual(["GET"], self.asked())

    def test_under_way_and_said_to_be_empty(self) -> None:
        """But not that of a blob that is said to be empty and cannot be."""
        self.upstream.wrong = {"a.example": b""}
        self.begin()
        self.assertEqual(len(DATA), self.size())

    def test_wrong_in_the_store(self) -> None:
        """The size of a wrong blob in the store is not passed on."""
        self.driver.place(blob_key(self.digest), b"wrong", sealed=False)
        self.assertEqual(len(DATA), self.size())

    def test_broken_store(self) -> None:
        """A store that fails is passed over."""
        self.pulled()
        self.driver.broken = "disk on fire"
        self.assertEqual(len(DATA), self.size())
        self.assertEqual(["HEAD"], self.asked())


class Asked(SizeTestCase):
    """Upstream is asked."""

    def test_head(self) -> None:
        """The size of a cold blob is asked with HEAD, and nothing is downloaded."""
        for stated in (None, len(DATA)):
            self.stated(stated)
            self.assertEqual(len(DATA), self.size())
            self.assertEqual(["HEAD"], self.asked())
        self.assertEqual([], self.upstream.bodies)

    def test_unknown(self) -> None:
        """A blob that does not exist, or not for us, is refused, though a manifest states its size."""
        for stated in (None, 5):
            self.stated(stated)
            for error in (BlobUnknown("404"), Denied("403")):
                self.upstream.head_error = error
                self.refused(type(error))

    def test_fails(self) -> None:
        """If upstream cannot say, a manifest may; if none does, there is no answer."""
        for error in FAILURES:
            self.setUp()
            self.upstream.head_error = error
            self.refused(type(error))
            self.stated(len(DATA))
            self.assertEqual(len(DATA), self.size())
            self.assertEqual(["HEAD"], self.asked())

    def test_does_not_say(self) -> None:
        """If upstream says no size, or zero, a manifest may; if none does, there is no answer."""
        for says, told in ((False, None), (True, 0)):
            self.setUp()
            self.upstream.says_size, self.upstream.head_size = says, told
            self.refused(BadGateway)
            self.stated(len(DATA))
            self.assertEqual(len(DATA), self.size())
            self.assertEqual(["HEAD"], self.asked())

    def test_empty(self) -> None:
        """Nothing has no bytes."""
        self.have(b"")
        self.assertEqual(0, self.size())

    def test_wrong_head(self) -> None:
        """Where HEAD and a manifest differ GET decides; a hint that is wrong is forgotten."""
        self.stated(len(DATA))
        self.upstream.head_size = 1_234_567
        self.assertEqual(len(DATA), self.size())
        self.assertEqual((["HEAD", "GET"], len(DATA)), (self.asked(), self.hint()))
        self.stated(5, "other")
        self.upstream.head_size = None
        self.assertEqual(len(DATA), self.size())
        self.assertEqual((["HEAD", "GET"], None), (self.asked(), self.hint()))

    def test_wrong_head_and_no_get(self) -> None:
        """If GET does not say, or fails, it is what upstream has said before."""
        for says, error in ((False, None), (True, BadGateway("500"))):
            self.setUp()
            self.stated(5)
            self.upstream.says_size, self.upstream.head_size = says, 1_234_567
            self.upstream.holding = True
            asking = self.start(self.blobs.size(self.target, self.digest))
            self.upstream.release_one()
            self.upstream.error = error
            self.upstream.release()
            self.assertEqual(1_234_567, self.successResultOf(asking).size)
            self.assertIsNone(self.hint())

    def test_silent(self) -> None:
        """An upstream that does not answer costs less time than clients wait."""
        for hint in (None, len(DATA)):
            self.setUp()
            self.stated(hint)
            self.upstream.holding = True
            asking = self.start(self.blobs.size(self.target, self.digest))
            self.clock.advance(SIZE_TIMEOUT)
            if hint is None:
                self.failureResultOf(asking, GatewayTimeout)
            else:
                self.assertEqual(hint, self.successResultOf(asking).size)
        self.assertLess(SIZE_TIMEOUT + CHECK_TIMEOUT, 30)

    def test_client_that_leaves(self) -> None:
        """For a client that has left nothing more is asked."""
        self.upstream.holding = True
        asking = self.start(self.blobs.size(self.target, self.digest))
        asking.cancel()
        self.failureResultOf(asking)
        self.assertEqual(["HEAD"], self.asked())
