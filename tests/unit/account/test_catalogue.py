"""Questions of people, as SQL."""

from __future__ import annotations

from oci_registry.account.catalogue import Place, images_after
from oci_registry.account.shares import Shares
from tests.unit.account.support import OWN, AccountTestCase


class Plans(AccountTestCase):
    """How the questions are answered."""

    def test_bounded(self) -> None:
        """No page is sorted, nor does any need more than its own rows: it costs as much in a large store."""
        layer = self.blob(b"layer")
        self.tag("1", self.image(layer))
        self.image(layer, host=OWN)
        for question in (
            images_after(Place("docker.io"), 10),
            images_after(Place("example.com", number=0), 10),
        ):
            plan = self.plans(question)
            self.assertNotIn("TEMP B-TREE", plan)
            # What is scanned is read from the place on, up to the limit.
            self.assertNotRegex(plan, r"SCAN (?!\(subquery|CONSTANT)")

    def test_slices(self) -> None:
        """To add up a slice of all blobs or manifests, no table is scanned."""
        self.tag("1", self.image(self.blob(b"layer")))
        for question in (Shares()._blobs(0), Shares()._manifests(0, 10)):
            self.assertNotRegex(self.plans(question), r"SCAN (?!\(subquery|CONSTANT)")
