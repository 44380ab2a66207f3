"""A no is not asked again for a while: 404 by question, 403 by repository."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.errors import BlobUnknown, Denied, ManifestUnknown, RegistryError
from oci_registry.upstream import noes as noes_module
from oci_registry.upstream.noes import Noes


class NoesTests(SynchronousTestCase):
    """What is remembered, and for how long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.noes = Noes(self.clock, not_found=10.0, denied=60.0)

    def check(self, repository: str, question: str) -> type[RegistryError] | None:
        try:
            self.noes.check(repository, question)
        except RegistryError as error:
            return type(error)
        return None

    def test_not_found(self) -> None:
        """A 404 is good for its question alone, and for its time."""
        self.noes.remember("a", "manifest x", ManifestUnknown("no x"))
        with self.assertRaisesRegex(ManifestUnknown, "no x"):
            self.noes.check("a", "manifest x")
        self.assertIsNone(self.check("a", "manifest y"))
        self.assertIsNone(self.check("b", "manifest x"))
        self.clock.advance(9.9)
        self.assertIs(ManifestUnknown, self.check("a", "manifest x"))
        self.clock.advance(0.1)
        self.assertIsNone(self.check("a", "manifest x"))
        self.assertEqual(0, len(self.noes))

    def test_denied(self) -> None:
        """A 403 is good for all of the repository, as the scope of a token is."""
        self.noes.remember("a", "manifest x", Denied("not for you"))
        self.clock.advance(59.9)
        self.assertIs(Denied, self.check("a", "blob y"))
        self.assertIsNone(self.check("b", "manifest x"))
        self.clock.advance(0.1)
        self.assertIsNone(self.check("a", "blob y"))

    def test_off(self) -> None:
        """With a time of 0 nothing is remembered."""
        self.noes = Noes(self.clock, not_found=0.0, denied=0.0)
        self.noes.remember("a", "x", BlobUnknown("no"))
        self.noes.remember("a", "x", Denied("no"))
        self.assertEqual(0, len(self.noes))

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not make a no last for good."""
        self.noes.remember("a", "x", BlobUnknown("no"))
        self.clock.rightNow -= 3600
        self.assertIsNone(self.check("a", "x"))

    def test_bounded(self) -> None:
        """Of too many noes the oldest are forgotten."""
        self.patch(noes_module, "REMEMBERED", 2)
        for name in "xyz":
            self.noes.remember("a", name, BlobUnknown("no"))
        found = [self.check("a", name) for name in "xyz"]
        self.assertEqual([None, BlobUnknown, BlobUnknown], found)
