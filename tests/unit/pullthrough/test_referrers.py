"""What refers to manifests, with and without the upstream."""

from __future__ import annotations

import json
from unittest.mock import patch

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.referrers import ServedReferrers
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    Denied,
    GatewayTimeout,
    ManifestUnknown,
    TooManyRequests,
)
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.upstream.interfaces import IncompleteList, Referrers
from tests.support.reports import Lines
from tests.unit.pullthrough.support import CacheTestCase

RAW = b'{"schemaVersion": 2, "config": {}, "layers": []}'
DIGEST = Digest.of(RAW)
FOUND = Referrers(({"artifactType": "a/b", "n": 1}, {"artifactType": "c/d", "n": 2}))
DAY = 86400.0


class ReferrersTestCase(CacheTestCase):
    """One manifest."""

    def get(self, artifact_type: str | None = None, digest: Digest = DIGEST) -> ServedReferrers:
        served = self.now(self.referrers.get(self.target, digest, artifact_type))
        self.assertEqual(artifact_type is not None, served.filtered)
        return served

    def listed(self, artifact_type: str | None = None) -> list[dict[str, object]]:
        index = json.loads(self.get(artifact_type).body)
        self.assertEqual((2, OCI_INDEX), (index["schemaVersion"], index["mediaType"]))
        manifests: list[dict[str, object]] = index["manifests"]
        return manifests


class Asked(ReferrersTestCase):
    """Upstream says."""

    def test_index(self) -> None:
        """Referrers are served as an image index, each as upstream described it."""
        known: list[dict[str, object]] = [
            {"digest": "d", "annotations": {"a": "ü"}, "size": 5},
            {"artifactType": "x/y", "z": [1, None]},
        ]
        self.upstream.found = Referrers(tuple(known))
        self.assertEqual(known, self.listed())

    def test_filter(self) -> None:
        """Only those of the artifact type asked for are served."""
        kinds: list[object] = ["a/b", "c/d", None, "a/b", ["a/b"]]
        found: list[dict[str, object]] = [{"artifactType": kind} for kind in kinds]
        self.upstream.found = Referrers((*found, {}))
        self.assertEqual([{"artifactType": "a/b"}] * 2, self.listed("a/b"))
        self.assertEqual([], self.listed("e/f"))

    def test_none(self) -> None:
        """No referrers are an empty list."""
        self.assertEqual([], self.listed())

    def test_not_longer_than_upstreams(self) -> None:
        """What is served is not longer than what upstream sent: clients take only so much."""
        found: list[dict[str, object]] = [{"annotations": {"a": "日本語" * 1000, "b": "\ud800"}}]
        self.upstream.found = Referrers(tuple(found))
        sent = len("日本語".encode()) * 1000
        body = self.get().body
        self.assertLess(len(body), sent + 200)
        json.loads(body)

    def test_errors(self) -> None:
        """Upstream's errors are passed on where nothing is kept."""
        for error in (BadGateway("x"), Denied("x"), ManifestUnknown("x")):
            self.upstream.error = error
            self.fails(self.referrers.get(self.target, DIGEST, None), type(error))


class Kept(ReferrersTestCase):
    """Upstream has said, and cannot be asked now."""

    def kept(self) -> None:
        """Have what was found kept, and nothing else known."""
        self.upstream.found = FOUND
        self.get("a/b")
        self.restart()

    def test_served(self) -> None:
        """What upstream said before is served, all or of one type, with its age."""
        self.kept()
        self.clock.advance(2 * DAY)
        for error in (BadGateway("x"), GatewayTimeout("x"), TooManyRequests("x")):
            self.upstream.error = error
            self.assertEqual(list(FOUND.manifests), self.listed())
            self.assertEqual([FOUND.manifests[1]], self.listed("c/d"))
            self.assertEqual(2 * DAY, self.get().age)
        self.upstream.error = None
        self.assertIsNone(self.get().age)

    def test_too_old(self) -> None:
        """That ends when a tag would not be served any more either, or at once where nothing may be stale."""
        self.kept()
        self.upstream.error = BadGateway("x")
        self.clock.advance(7 * DAY + 3599)
        self.assertEqual(list(FOUND.manifests), self.listed())
        self.clock.advance(1)
        self.fails(self.referrers.get(self.target, DIGEST, None), BadGateway)
        self.restart()
        self.upstream.error = None
        self.get()
        self.upstream.change(stale_if_error=0.0)
        self.upstream.error = BadGateway("x")
        self.fails(self.referrers.get(self.target, DIGEST, None), BadGateway)

    def test_definite_answers(self) -> None:
        """A denial, or a list that is longer than we read, is passed on: the stored list is not served."""
        self.kept()
        for error in (Denied("x"), IncompleteList("x")):
            self.upstream.error = error
            self.fails(self.referrers.get(self.target, DIGEST, None), type(error))

    def test_last_word(self) -> None:
        """What is kept is what upstream said last; an empty list too, of an image that is stored."""
        self.now(self.manifests.get(self.target, self.upstream.add(RAW).digest))
        self.kept()
        self.upstream.found = Referrers(())
        self.get()
        self.upstream.error = BadGateway("x")
        self.assertEqual([], self.listed())

    def test_stale_upstream(self) -> None:
        """A list that a mirror has from its store is served with that warning, and is no later word."""
        self.kept()
        self.upstream.found = Referrers((), warning="down")
        for artifact_type in (None, "a/b"):
            self.assertEqual("down", self.get(artifact_type).warning)
        self.upstream.error = BadGateway("x")
        self.assertEqual(list(FOUND.manifests), self.listed())

    def test_few_lines(self) -> None:
        """However often a stale list is served, that is one line a minute."""
        self.kept()
        lines = Lines(self)
        self.upstream.error = BadGateway("x")
        for _ in range(100):
            self.get()
        (line,) = lines.warnings
        self.assertTrue(line.endswith("in example.com/library/app are served stale: x"), line)

    def test_of_nothing(self) -> None:
        """Asking for the referrers of what there is not leaves nothing in the store."""
        self.get(digest=Digest.of(b"x"))
        self.assertEqual(set(), self.stored())

    def test_nobody_waits(self) -> None:
        """A slow store delays no answer; when the daemon stops, what is being written is waited for."""
        self.upstream.found = FOUND
        gate: Deferred[None] = Deferred()
        with patch.object(self.driver, "put", return_value=gate):
            self.get()
        stopped = self.start(self.writer.stop())
        self.assertNoResult(stopped)
        gate.callback(None)
        self.successResultOf(stopped)

    def test_broken_store(self) -> None:
        """A store that fails costs nobody an answer, and upstream's error is the answer if both do."""
        self.driver.broken = "disk on fire"
        self.upstream.found = FOUND
        self.assertEqual(list(FOUND.manifests), self.listed())
        self.assertGreater(self.counted("oci_registry_errors_total", kind="store"), 0)
        self.upstream.error = BadGateway("x")
        self.fails(self.referrers.get(self.target, DIGEST, None), BadGateway)

    def test_damaged(self) -> None:
        """What somebody has put there that is no index has no entries."""
        self.kept()
        (key,) = self.stored()
        self.driver.place(key, b'{"checked": %d}\n[]' % self.clock.seconds(), sealed=False)
        self.upstream.error = BadGateway("x")
        self.assertEqual([], self.listed("a/b"))
