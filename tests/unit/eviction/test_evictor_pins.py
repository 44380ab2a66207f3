"""Images that are pinned or held while an eviction runs, and those that are not whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from oci_registry.eviction.evictor import Evicted
from oci_registry.eviction.pinned import PinPatterns
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName, parse_image
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.patterns import parse_pattern
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import HOLDS, PINS, tag_key
from oci_registry.storage.pins import Pins
from oci_registry.storage.tags import TagRecord
from tests.unit.account.support import HUB
from tests.unit.eviction.test_evictor import BLOCK, EvictionTestCase


class Meanwhile(EvictionTestCase):
    """What others do while images are removed."""

    def on_first_removal(self, act: Callable[[], Awaitable[Any]]) -> None:
        """Await *act* when the first manifest has been removed."""
        manifests = self.evictor._manifests
        real = manifests.delete
        acted: list[Digest] = []

        async def delete(host: str, digest: Digest) -> bool:
            removed = await real(host, digest)
            acted.append(digest)
            if len(acted) == 1:
                await act()
            return removed

        self.patch(manifests, "delete", delete)

    def check(self, act: Callable[[Digest], Awaitable[Any]]) -> None:
        """Check that *act* keeps an image with all that it needs, and that others go."""
        first, kept, last = (self.pulled(name) for name in (b"first", b"kept", b"last"))
        self.on_first_removal(lambda: act(kept))
        self.assertEqual(self.free(6), Evicted(2, 2, 4 * BLOCK))
        self.assertEqual([self.has(one) for one in (first, kept, last)], [False, True, False])
        self.assertTrue(self.has(Digest.of(b"kept")))
        tags = [key for key in self.driver._objects if "_tags" in key]
        self.assertEqual(sum(not key.startswith((PINS, HOLDS)) for key in tags), 1)
        self.assertEqual(self.metrics.evicted.labels("image")._value.get(), 2)

    def test_tagged(self) -> None:
        """A tag that is recorded for an image while that is evicted goes with it, unless it is back."""
        first, other = self.pulled(b"first"), self.pulled(b"other")
        late = [tag_key(HUB, "library/app", tag) for tag in ("late", "elsewhere")]

        async def tag() -> None:
            for name, image in (("late", first), ("elsewhere", other)):
                record = TagRecord(image, OCI_MANIFEST, self.clock.seconds())
                await self.observed.put(tag_key(HUB, "library/app", name), record.to_json())

        self.on_first_removal(tag)
        self.assertEqual(1, self.free(1).images)
        self.assertEqual([False, True], [self.has(first), self.has(other)])
        self.assertEqual([False, True], [key in self.driver._objects for key in late])

    def test_tagged_while_incomplete(self) -> None:
        """A tag that is recorded while an image that lacks a blob is evicted goes with it."""
        missing = Digest.of(b"never stored")
        image = self.image(missing)
        self.tag("1", image)
        self.successResultOf(self.account.flush())
        key = tag_key(HUB, "library/app", "late")
        record = TagRecord(image, OCI_MANIFEST, self.clock.seconds())

        async def tag() -> None:
            await self.observed.put(key, record.to_json())

        self.on_first_removal(tag)
        self.assertEqual(1, self.result(self.evictor.drop_incomplete([missing])))
        self.assertNotIn(key, self.driver._objects)

    def test_pinned_by_digest(self) -> None:
        """An image that is pinned by its digest while others are evicted stays."""
        self.check(lambda image: self.pins.add(ImageName(HUB, "a/b", digest=image)))

    def test_pinned_by_tag(self) -> None:
        """An image that is pinned by its tag while others are evicted stays."""
        self.check(lambda _: self.pins.add(parse_image(f"{HUB}/a/b:kept")))

    def test_held(self) -> None:
        """An image that a tag is held at while others are evicted stays."""
        now = self.clock.seconds()
        self.check(lambda image: self.holds.put(HUB, "a/b", "kept", image, now))

    def test_pattern(self) -> None:
        """An image that new patterns pin while others are evicted stays."""

        async def follow(_: Digest) -> None:
            self.pinned.follow(PinPatterns({HUB: [parse_pattern("a/b:kept")]}))

        self.check(follow)

    def test_index(self) -> None:
        """What an index names stays with it."""
        first = self.pulled(b"first")
        child = self.image(self.blob(b"child"))
        index = self.image(child, index=True)
        self.on_first_removal(lambda: self.pins.add(ImageName(HUB, "a/b", digest=index)))
        self.free(100)
        self.assertEqual([self.has(one) for one in (first, child, index)], [False, True, True])
        self.assertTrue(self.has(Digest.of(b"child")))

    def test_unpinned(self) -> None:
        """A pin that is removed again does not count."""
        image = self.pulled(b"a")
        pin = ImageName(HUB, "a/b", digest=image)
        self.result(self.pins.add(pin))
        self.assertEqual(self.free(2), Evicted())
        self.result(self.pins.remove(pin))
        self.assertEqual(self.free(2).images, 1)

    def test_pinned_by_another_process(self) -> None:
        """What another process pins is noticed when the next images are looked at."""
        self.evictor.candidates = 20
        stored = [self.image(self.blob(b"%d" % number)) for number in range(50)]
        pin = ImageName(HUB, "a/b", digest=stored[40])
        self.on_first_removal(lambda: Pins(self.observed).add(pin))
        self.assertEqual(self.free(1000).images, 49)
        self.assertTrue(self.has(stored[40]) and self.has(Digest.of(b"40")))

    def test_failure(self) -> None:
        """What was removed before the store failed is counted."""
        for name in (b"a", b"b", b"c"):
            self.pulled(name)

        async def fail() -> None:
            async def delete(*_: object) -> bool:
                raise StoreError("broken")

            self.patch(self.evictor._manifests, "delete", delete)

        self.on_first_removal(fail)
        self.assertEqual(self.free(6).images, 1)
        self.assertEqual(self.metrics.evicted.labels("image")._value.get(), 1)


class NotWhole(EvictionTestCase):
    """Images with a layer that was not stored."""

    def dropped(self, missing: Digest) -> int:
        return self.result(self.evictor.drop_incomplete([missing]))

    def test_pinned(self) -> None:
        """What is pinned or held in any way stays, with what it names; the rest goes."""
        missing = Digest.of(b"missing")
        by_digest, by_tag, by_pattern, held, child, other = (
            self.pulled(name, missing)
            for name in (b"digest", b"tag", b"pattern", b"held", b"child", b"other")
        )
        index = self.image(child, index=True)
        self.pinned.follow(PinPatterns({HUB: [parse_pattern("a/b:pattern")]}))
        self.result(self.pins.add(ImageName(HUB, "a/b", digest=by_digest)))
        self.result(self.pins.add(ImageName(HUB, "a/b", digest=index)))
        self.result(self.pins.add(parse_image(f"{HUB}/a/b:tag")))
        self.result(self.holds.put(HUB, "a/b", "held", held, self.clock.seconds()))
        self.assertEqual(self.dropped(missing), 1)
        self.assertFalse(self.has(other))
        kept = (by_digest, by_tag, by_pattern, held, child, index)
        self.assertTrue(all(map(self.has, kept)))
        self.assertEqual(self.metrics.evicted.labels("image")._value.get(), 1)

    def test_unreadable_pins(self) -> None:
        """If the pins cannot be read, all stay."""
        missing = Digest.of(b"missing")
        image = self.pulled(b"a", missing)

        def fail(prefix: str) -> None:
            raise StoreError(f"cannot list {prefix}")

        self.patch(self.driver, "walk", fail)
        self.assertEqual(self.dropped(missing), 0)
        self.assertTrue(self.has(image))
