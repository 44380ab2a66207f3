"""What is pinned does not expire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from oci_registry.eviction.pinned import PinPatterns
from oci_registry.eviction.sweep import Swept
from oci_registry.spec.image import ImageName, parse_image
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.patterns import parse_pattern
from tests.unit.eviction import test_account_sweep
from tests.unit.eviction.support import BRIEF, HOST, OTHERS, SweepTestCase


class Pins(SweepTestCase):
    """Pins of patterns, and of the operator."""

    def test_patterns(self) -> None:
        """Images that match a pattern stay with all that they need, also if they are an index's."""
        self.pinned.follow(PinPatterns({HOST: [parse_pattern("library/*:keep*")]}))
        amd = self.manifest(self.blob(b"config"), self.blob(b"layer"))
        index = self.manifest(children=(amd,))
        other = self.manifest(self.blob(b"other"), self.blob(b"layer"))
        self.tag(index, "keep-1")
        self.tag(other, "other")
        self.assertEqual(self.swept(15), Swept(blobs=1, size=5, manifests=1, tags=1))
        self.assertEqual(self.swept(15), Swept())
        self.assertTrue(all(map(self.has, (amd, index, b"config", b"layer"))))
        # Its lifetime begins when it is no longer pinned.
        self.pinned.follow(PinPatterns())
        self.assertEqual(self.swept(13), Swept())
        self.assertEqual(self.swept(2).manifests, 2)

    def test_registries(self) -> None:
        """A pattern is for its registry, one of the entry for all others for those that have none."""
        self.pinned.follow(
            PinPatterns({BRIEF: [parse_pattern("nothing")]}, [parse_pattern("library/app")])
        )
        for host in (BRIEF, OTHERS):
            self.tag(self.manifest(self.blob(b"x"), host=host), host=host)
        self.assertEqual(self.swept(15), Swept(manifests=1, tags=1))

    def test_operator(self) -> None:
        """What the operator has pinned stays, by tag or by digest, until it is unpinned."""
        tagged = self.manifest(self.blob(b"a"))
        by_digest = self.manifest(self.blob(b"b"))
        other = self.manifest(self.blob(b"c"))
        self.tag(tagged, "1")
        pins = [
            parse_image("library/app:1"),
            ImageName(HOST, "library/app", digest=by_digest.digest),
        ]
        for pin in pins:
            self.result(self.pins.add(pin))
        self.assertEqual(self.swept(15), Swept(blobs=1, size=1, manifests=1))
        self.assertTrue(all(map(self.has, (tagged, by_digest))))
        self.assertFalse(self.has(other))
        for pin in pins:
            self.result(self.pins.remove(pin))
        self.assertEqual(self.swept(15).manifests, 2)

    def test_moved_tag(self) -> None:
        """What a pinned tag has named before expires."""
        before, now = self.manifest(self.blob(b"a")), self.manifest(self.blob(b"b"))
        self.tag(before, "1")
        self.result(self.pins.add(parse_image("library/app:1")))
        self.tag(now, "1")
        self.assertEqual(self.swept(15), Swept(blobs=1, size=1, manifests=1))
        self.assertTrue(self.has(now))

    def check_meanwhile(
        self, store: object, method: str, is_there: Callable[[Manifest, bytes], Awaitable[object]]
    ) -> None:
        """Pin an image for which *is_there* holds after the first removal; check that it still holds."""
        images = {}
        for name in (b"a", b"b", b"c"):
            images[name] = self.manifest(self.blob(name))
            self.tag(images[name], name.decode())
        self.patch(self.sweep, "_batch", 1)
        real = getattr(store, method)
        kept: list[bytes] = []

        async def remove(*args: object) -> object:
            removed = await real(*args)
            if not kept:
                kept.extend([name for name, one in images.items() if await is_there(one, name)][:1])
                await self.pins.add(ImageName(HOST, "library/app", digest=images[kept[0]].digest))
            return removed

        self.patch(store, method, remove)
        self.assertEqual(self.swept(15).manifests, 2)
        (name,) = kept
        self.assertTrue(self.has(images[name]))
        self.assertTrue(self.result(is_there(images[name], name)))

    def test_while_blobs_are_removed(self) -> None:
        """An image that is pinned while blobs of others are removed stays whole."""

        async def has_blob(_: Manifest, name: bytes) -> bool:
            return self.has(name)

        self.check_meanwhile(self.blobs, "discard_many", has_blob)

    def test_while_tags_are_removed(self) -> None:
        """An image that is pinned while tags of others are removed keeps its tag."""

        async def has_tag(_: Manifest, name: bytes) -> object:
            return await self.tags.peek(HOST, "library/app", name.decode())

        self.check_meanwhile(self.tags, "delete", has_tag)

    def test_while_manifests_are_removed(self) -> None:
        """An image that is pinned while manifests of others are removed stays."""

        async def has_manifest(image: Manifest, _: bytes) -> bool:
            return self.has(image)

        self.check_meanwhile(self.manifests, "delete", has_manifest)


class AccountPins(test_account_sweep.AccountMixin, Pins):
    """The same, of a store that has an account."""

    def test_account_lost(self) -> None:
        """Pins outlive the account."""
        self.result(self.pins.add(parse_image("library/app:1")))
        image = self.manifest(self.blob(b"a"))
        self.tag(image, "1")
        self.clock.advance(15 * 86400)
        self.path = self.mktemp()
        self.restart()
        self.assertEqual(self.swept(), Swept())
        self.assertTrue(self.has(image))
