"""The comparison of policies of eviction."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from tools.simulate import policies
from tools.simulate.__main__ import compare, main, survivors
from tools.simulate.policies import LeastRecentlyUsed, WholeImages
from tools.simulate.trace import MANIFEST, MIB, Pull, Shape, Trace, make_up, read_log

SMALL = Shape(days=3, pulls=60, apps=20, bases=4, nodes=4, burst=10)
DOCUMENTED = Path(__file__).parents[3] / "docs" / "explanation" / "eviction.md"


def pull(number: int, name: str, *blobs: str) -> Pull:
    """Return a pull by a client that has nothing."""
    return Pull(number * 100.0, (name,), blobs, blobs)


class Policies(SynchronousTestCase):
    """What they keep."""

    def test_evictions(self) -> None:
        """An image that was pulled twice outlives others, which go as wholes."""
        sizes = dict.fromkeys(("base", "hot", *"abcdefgh"), MIB)
        whole = WholeImages(6 * MIB, sizes)
        for number in range(3):
            whole.pull(pull(number, "hot:1", "base", "hot"))
        for number, name in enumerate("abcdefgh", 3):
            whole.pull(pull(number, f"{name}:1", "base", name))
        stored = whole.stored()
        self.assertLessEqual({"hot:1", "hot", "base", "h:1", "h"}, stored)
        self.assertFalse({"a:1", "a"} & stored)
        self.assertEqual(
            [name for name in "abcdefgh" if name in stored],
            [name[0] for name in sorted(stored) if name[1:] == ":1"],
        )
        lru = LeastRecentlyUsed(6 * MIB, sizes)
        for number, name in enumerate("abcdefgh", 3):
            lru.pull(pull(number, f"{name}:1", name))
        self.assertFalse({"a:1", "a"} & lru.stored())

    def test_real_plans(self) -> None:
        """Plans are those of the daemon."""
        sizes = dict.fromkeys("abcdefgh", MIB)
        with patch.object(policies, "plan", side_effect=policies.plan) as plan:
            whole = WholeImages(5 * MIB, sizes)
            for number, name in enumerate("abcdefgh"):
                whole.pull(pull(number, f"{name}:1", name))
        self.assertGreater(plan.call_count, 0)

    def test_too_large(self) -> None:
        """An image with a blob that is not stored is not kept."""
        whole = WholeImages(4 * MIB, {"a": 2 * MIB, "b": MIB})
        whole.pull(pull(0, "a:1", "a", "b"))
        self.assertEqual(whole.stored(), set())
        self.assertEqual(whole.figures.requests_missed, 3)

    def test_indexes(self) -> None:
        """An index goes with its image."""
        sizes = dict.fromkeys("abcdefgh", MIB)
        whole = WholeImages(5 * MIB, sizes)
        for number, name in enumerate("abcdefgh"):
            whole.pull(Pull(number, (f"{name}:1", f"{name}/0"), (name,), (name,)))
        for name in "abcdefgh":
            there = {f"{name}:1", f"{name}/0", name} & whole.stored()
            self.assertIn(len(there), (0, 3))


class Traces(SynchronousTestCase):
    """Where pulls come from."""

    def test_made_up(self) -> None:
        """The same seed makes the same trace and the same table; the cap is kept."""
        first, second = make_up(7, SMALL), make_up(7, SMALL)
        self.assertEqual((first.pulls, first.sizes), (second.pulls, second.sizes))
        self.assertNotEqual(first.pulls, make_up(8, SMALL).pulls)
        self.assertEqual(compare(first), compare(second))
        self.assertTrue(any(len(pull.manifests) > 1 for pull in first.pulls))
        cap = first.corpus // 10
        whole = WholeImages(cap, first.sizes)
        for each in first.pulls:
            whole.pull(each)
            self.assertLessEqual(whole._taken, cap)
        taken = sum(first.sizes.get(name, MANIFEST) for name in whole.stored())
        self.assertEqual(taken, whole._taken)

    def line(self, second: int, client: str, path: str, sent: int = 0) -> str:
        return json.dumps(
            {
                "time": f"2026-01-01T00:00:{second:02}Z",
                "source": "access",
                "client": client,
                "method": "GET",
                "uri": path,
                "status": 200,
                "sent": sent,
                "namespace": "docker.io",
            }
        )

    def test_access_log(self) -> None:
        """Blobs belong to the manifest that the same client has requested before."""
        index, image = Digest.of(b"index"), Digest.of(b"image")
        one, two = Digest.of(b"one"), Digest.of(b"two")
        base = "/v2/library/app"
        trace = read_log(
            [
                "no JSON",
                "{}",
                "[]",
                "7",
                self.line(0, "a", f"{base}/manifests/1?ns=docker.io"),
                self.line(1, "b", f"{base}/manifests/1"),
                self.line(2, "a", f"{base}/manifests/{image}"),
                self.line(3, "a", f"{base}/blobs/{one}", 500),
                self.line(4, "a", f"{base}/blobs/{two}", 700),
                self.line(5, "b", f"{base}/manifests/{image}"),
                self.line(6, "b", f"{base}/blobs/{two}", 600),
                self.line(7, "a", f"{base}/manifests/{index}"),
                self.line(8, "c", f"{base}/blobs/{two}", 700),
                self.line(9, "c", "/healthz"),
            ]
        )
        self.assertEqual(trace.sizes, {str(one): 500, str(two): 700})
        names = ("docker.io/library/app@1", f"docker.io/library/app@{image}")
        blobs = (str(one), str(two))
        self.assertEqual(
            [(each.manifests, each.image, each.requested) for each in trace.pulls],
            [
                (names, blobs, blobs),
                (names, blobs, (str(two),)),
                ((f"docker.io/library/app@{index}",), (), ()),
            ],
        )

    def test_survivors(self) -> None:
        """Images count whose manifest is stored, and those of them that have all blobs."""
        trace = Trace([pull(0, "a", "x", "y"), pull(1, "b", "x"), pull(2, "c", "x")], {})
        self.assertEqual(survivors(trace, {"a", "b", "x"}), (2, 1))

    def test_command(self) -> None:
        """A trace without pulls is an error; the heads of the table are those of the page."""
        empty = self.mktemp()
        Path(empty).write_text("")
        self.assertEqual(main([empty]), 1)
        log = self.mktemp()
        Path(log).write_text(self.line(0, "a", "/v2/library/app/manifests/1"))
        printed = io.StringIO()
        with redirect_stdout(printed):
            self.assertEqual(main([log]), 0)
        head = printed.getvalue().splitlines()[2]
        self.assertIn(head, DOCUMENTED.read_text("utf-8"))
