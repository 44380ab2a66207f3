"""A negative answer is not asked for again for a while, and holds for its very request."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.errors import BlobUnknown, Denied, ManifestUnknown, RegistryError
from oci_registry.upstream.errors import CredentialsRefused
from oci_registry.upstream.negative_cache import NegativeCache
from oci_registry.upstream.requests import ApiRequest, Kind


def manifest(subject: str, repository: str = "a") -> ApiRequest:
    """Return a request about a manifest."""
    return ApiRequest(Kind.MANIFEST, repository, subject)


class NegativeCacheTests(SynchronousTestCase):
    """What is kept, and for how long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.cache = NegativeCache(self.clock, not_found=10.0, denied=60.0)

    def check(self, request: ApiRequest) -> type[RegistryError] | None:
        try:
            self.cache.check(request)
        except RegistryError as error:
            return type(error)
        return None

    def test_not_found(self) -> None:
        """A 404 is good for its request alone, and for its time."""
        self.cache.remember(manifest("x"), ManifestUnknown("no x"))
        with self.assertRaisesRegex(ManifestUnknown, "no x"):
            self.cache.check(manifest("x"))
        self.assertIsNone(self.check(manifest("y")))
        self.assertIsNone(self.check(manifest("x", "b")))
        self.clock.advance(9.9)
        self.assertIs(ManifestUnknown, self.check(manifest("x")))
        self.clock.advance(0.1)
        self.assertIsNone(self.check(manifest("x")))
        self.assertEqual(0, len(self.cache))

    def test_denied(self) -> None:
        """A 403 of one tag refuses that one, for its own time, and no other tag, blob or list."""
        self.cache.remember(manifest("x"), Denied("not for you"))
        self.clock.advance(59.9)
        self.assertIs(Denied, self.check(manifest("x")))
        others = [manifest("y"), *(ApiRequest(kind, "a", "x") for kind in Kind)]
        for other in others:
            if other != manifest("x"):
                self.assertIsNone(self.check(other))
        self.clock.advance(0.1)
        self.assertIsNone(self.check(manifest("x")))

    def test_expired(self) -> None:
        """What has expired is dropped when something else is kept, even if nobody asks for it again."""
        for number in range(100):
            self.cache.remember(manifest(str(number)), ManifestUnknown("no"))
            self.clock.advance(0.1)
        self.assertEqual(100, len(self.cache))
        self.clock.advance(5.05)
        self.cache.remember(manifest("new"), ManifestUnknown("no"))
        self.assertEqual(50, len(self.cache))
        self.assertIs(ManifestUnknown, self.check(manifest("99")))
        self.assertIs(ManifestUnknown, self.check(manifest("new")))
        self.clock.advance(60.0)
        self.cache.remember(manifest("newer"), ManifestUnknown("no"))
        self.assertEqual(1, len(self.cache))

    def test_head_and_get(self) -> None:
        """What HEAD got says nothing about GET."""
        self.cache.remember(ApiRequest(Kind.DIGEST, "a", "x"), ManifestUnknown("no HEAD"))
        self.cache.remember(ApiRequest(Kind.SIZE, "a", "y"), BlobUnknown("no HEAD"))
        self.assertIsNone(self.check(manifest("x")))
        self.assertIsNone(self.check(ApiRequest(Kind.BLOB, "a", "y")))

    def test_off(self) -> None:
        """With a time of 0 nothing is kept."""
        self.cache = NegativeCache(self.clock, not_found=0.0, denied=0.0)
        self.cache.remember(manifest("x"), BlobUnknown("no"))
        self.cache.remember(manifest("x"), Denied("no"))
        self.assertEqual(0, len(self.cache))

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not make an entry last for good."""
        self.cache.remember(manifest("x"), BlobUnknown("no"))
        self.clock.rightNow -= 3600
        self.assertIsNone(self.check(manifest("x")))

    def test_own_error(self) -> None:
        """Each asker gets an error of its own, so that tracebacks do not grow."""
        self.cache.remember(manifest("x"), ManifestUnknown("no", detail="d"))
        raised: list[RegistryError] = []
        for _ in range(2):
            try:
                self.cache.check(manifest("x"))
            except RegistryError as error:
                raised.append(error)
        first, second = raised
        self.assertIsNot(first, second)
        self.assertEqual(("no", "d"), (second.message, second.detail))

    def test_same_error(self) -> None:
        """An error is raised with everything that belongs to it."""
        errors = (
            ManifestUnknown("no", detail={"tag": ["x", 1, None]}, headers={"Retry-After": "5"}),
            CredentialsRefused("refused", "user", "https://example.com", 401, certain=False),
        )
        for error in errors:
            self.cache.remember(manifest("x"), error)
            with self.assertRaises(type(error)) as raised:
                self.cache.check(manifest("x"))
            self.assertEqual({**vars(error), "from_cache": True}, vars(raised.exception))
            self.assertEqual(
                (error.args, str(error)), (raised.exception.args, str(raised.exception))
            )
            self.assertEqual(error.as_json(), raised.exception.as_json())

    def test_odd_detail(self) -> None:
        """A detail that clients cannot get is not kept."""
        self.cache.remember(manifest("x"), ManifestUnknown("no", detail={1, 2}))
        with self.assertRaisesRegex(ManifestUnknown, "no") as raised:
            self.cache.check(manifest("x"))
        self.assertIsNone(raised.exception.detail)

    def test_odd_error(self) -> None:
        """An error that cannot be expressed in JSON is not kept."""
        odd = ManifestUnknown("no")
        vars(odd)["odd"] = object()
        self.cache.remember(manifest("x"), odd)
        self.assertIsNone(self.check(manifest("x")))

    def test_again(self) -> None:
        """An entry that is replaced becomes the newest."""
        self.cache = NegativeCache(self.clock, not_found=10, denied=60, entries=2)
        for name in "xyxz":
            self.cache.remember(manifest(name), BlobUnknown("no"))
        found = [self.check(manifest(name)) for name in "xyz"]
        self.assertEqual([BlobUnknown, None, BlobUnknown], found)

    def test_bounded(self) -> None:
        """Of too many entries the oldest are dropped."""
        self.cache = NegativeCache(self.clock, not_found=10, denied=60, entries=2)
        for name in "xyz":
            self.cache.remember(manifest(name), BlobUnknown("no"))
        found = [self.check(manifest(name)) for name in "xyz"]
        self.assertEqual([None, BlobUnknown, BlobUnknown], found)
