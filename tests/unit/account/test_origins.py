"""Which tags have content, as the account knows."""

from __future__ import annotations

from oci_registry.account.origins import Origin, origins
from oci_registry.spec.digest import Digest
from tests.unit.account.support import HUB, OWN, AccountTestCase


class Origins(AccountTestCase):
    """Layers, images and indexes."""

    def found(self, digest: Digest) -> list[tuple[str, str]]:
        """Return registry and tag of the origins."""
        return [(each.host, each.tag) for each in self.ask(origins(digest))]

    def test_levels(self) -> None:
        """A layer, a manifest and an index are found by the tags above them."""
        layer = self.blob(b"layer")
        image = self.image(layer)
        index = self.image(image, index=True)
        self.tag("1", index)
        for digest in (layer, image, index):
            self.assertEqual([(HUB, "1")], self.found(digest))
        (origin,) = self.ask(origins(layer))
        self.assertEqual(Origin(HUB, "a/b", "1"), origin)

    def test_several(self) -> None:
        """All registries and tags are found once each; those that still name it come first."""
        layer, other = self.blob(b"layer"), self.blob(b"other")
        image, moved = self.image(layer), self.image(other)
        own = self.image(layer, host=OWN)
        self.tag("old", image)
        self.clock.advance(10)
        self.tag("old", moved)
        self.clock.advance(10)
        self.tag("new", image)
        self.tag("own", own, host=OWN)
        found = self.found(layer)
        self.assertEqual({(HUB, "new"), (OWN, "own")}, set(found[:2]))
        self.assertEqual([(HUB, "old")], found[2:])

    def test_none(self) -> None:
        """Content without a tag, and unknown content, has none."""
        layer = self.blob(b"layer")
        self.image(layer)
        self.assertEqual([], self.found(layer))
        self.assertEqual([], self.found(Digest.of(b"unknown")))
