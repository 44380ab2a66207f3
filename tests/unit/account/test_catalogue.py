"""Questions of people, as SQL."""

from __future__ import annotations

from oci_registry.account.catalogue import Place, images_after
from oci_registry.account.shares import Memo, namings_after
from tests.unit.account.support import OWN, PlansTestCase


class Plans(PlansTestCase):
    """How the questions are answered."""

    def test_bounded(self) -> None:
        """No page is sorted, nor does any need more than its own rows: it costs as much in a large store."""
        layer = self.blob(b"layer")
        self.tag("1", self.image(layer))
        self.image(layer, host=OWN)
        for question in (
            images_after(Place("docker.io"), 10),
            images_after(Place("example.com", number=0), 10),
            namings_after(0, 0, 10, Memo()),
        ):
            plan = self.plans(question)
            self.assertNotIn("TEMP B-TREE", plan)
            # What is scanned is read from the place on, up to the limit.
            self.assertNotRegex(plan, r"SCAN (?!\(subquery|CONSTANT)")

    def test_memo(self) -> None:
        """What is remembered is bounded."""
        memo = Memo(2)
        owner = frozenset({("docker.io", None)})
        for number in (1, 2, 3):
            self.assertEqual(owner, memo.put(number, owner))
        self.assertEqual([None, None, owner], [memo.get(number) for number in (1, 2, 3)])
