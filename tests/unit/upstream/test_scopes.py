"""The scopes that a token is asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.upstream.schemes.scopes import MAX_SCOPES, merge_scopes

OURS = "repository:team/app:pull"
SCOPES = st.text(st.sampled_from("ab:,* "), max_size=40)


class Merging(SynchronousTestCase):
    """merge_scopes."""

    def test_merged(self) -> None:
        """Ours comes first, others are added to it, and none is there twice."""
        for challenged, expected in {
            "": (OURS,),
            OURS: (OURS,),
            f" {OURS}  {OURS} ": (OURS,),
            "repository:base/os:pull": (OURS, "repository:base/os:pull"),
            "registry:catalog:*": (OURS, "registry:catalog:*"),
            "*": (OURS, "*"),
            "nonsense": (OURS, "nonsense"),
        }.items():
            self.assertEqual(expected, merge_scopes(OURS, challenged), challenged)

    def test_actions(self) -> None:
        """More actions for the same are asked for as the challenge says, and ours with them."""
        for challenged, expected in {
            "repository:team/app:pull,push": "repository:team/app:pull,push",
            "repository:team/app:push,pull": "repository:team/app:push,pull",
            "repository:team/app:*": "repository:team/app:*",
            "repository:team/app:push": "repository:team/app:push,pull",
            "repository:team/app:": "repository:team/app:pull",
            "repository:team/app:a repository:team/app:b": "repository:team/app:b,a,pull",
        }.items():
            self.assertEqual((expected,), merge_scopes(OURS, challenged), challenged)

    def test_ports(self) -> None:
        """A name may hold colons."""
        name = "repository:host:5000/app:pull"
        self.assertEqual((name,), merge_scopes(name, name))

    @given(SCOPES)
    def test_anything(self, challenged: str) -> None:
        """Any challenge leaves ours in, in few scopes without a space, each subject once."""
        merged = merge_scopes(OURS, challenged)
        self.assertIn("pull", merged[0])
        self.assertLessEqual(len(merged), MAX_SCOPES)
        self.assertFalse([scope for scope in merged if not scope or " " in scope])
        self.assertEqual(len(merged), len(set(merged)))
        self.assertEqual(merged, merge_scopes(OURS, " ".join(merged)))

    def test_bounded(self) -> None:
        """Of no end of scopes the first are asked for."""
        challenged = " ".join(f"repository:r{number}:pull" for number in range(1000))
        self.assertEqual(MAX_SCOPES, len(merge_scopes(OURS, challenged)))
