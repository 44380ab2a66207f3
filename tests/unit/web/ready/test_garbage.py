"""How many objects of a ready answer the garbage collector has to look at."""

from __future__ import annotations

import gc
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.web.ready.support import RAW, Mirror

COUNT = 25
OURS = ("oci_registry.web.", "oci_registry.pullthrough.hits", "oci_registry.upstream.table")
FUNCTIONS = ("function", "method", "cell", "partial")


class Garbage(SynchronousTestCase):
    """Ready answers."""

    def objects(self) -> Counter[str]:
        """Return the objects that are part of an answer, by type."""
        gc.collect()
        types = (type(one) for one in gc.get_objects())
        return Counter(
            kind.__qualname__
            for kind in types
            if str(kind.__module__).startswith(OURS) or kind.__qualname__ in FUNCTIONS
        )

    def test_manifests(self) -> None:
        """A ready answer is two objects: there are thousands of them."""
        mirror = Mirror(ready=True)
        for number in range(COUNT + 1):
            mirror.upstream.add(RAW + b" " * number, f"t{number}")
        mirror.warm("/v2/library/app/manifests/t0")
        mirror.leave()
        before = self.objects()
        for number in range(1, COUNT + 1):
            path = f"/v2/library/app/manifests/t{number}"
            mirror.warm(path)
            self.assertTrue(mirror.at_once(path))
            mirror.leave()
        more = self.objects() - before
        self.assertEqual(
            {"Entry": COUNT, "ManifestHit": COUNT},
            {name: count for name, count in more.items() if count >= COUNT // 2},
        )
