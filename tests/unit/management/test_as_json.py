"""Answers as JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping

from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.management import as_json
from oci_registry.management.answers import Removal, RepositoryUse
from oci_registry.management.as_json import PIECE, Answer, encode, is_long


@frozen
class Inner(Answer):
    """An answer in another one."""

    count: int


@frozen
class Outer(Answer):
    """An answer with fields of all kinds."""

    name: str
    when: float | None
    sure: bool
    inner: Inner | None
    several: tuple[Inner, ...]
    other: Mapping[str, object] | None


@frozen
class Names(Answer):
    """An answer with texts."""

    names: tuple[str, ...]


@frozen
class Trees(Answer):
    """An answer with answers that have several themselves."""

    outer: tuple[Outer, ...]


Shape = tuple[tuple[object, ...], ...]


def _outer(shape: tuple[object, ...]) -> Outer:
    return Outer("x", None, True, None, tuple(map(Inner, range(len(shape)))), {"a": [1]})


class Reading(SynchronousTestCase):
    """What is read from JSON."""

    outer = Outer("x", 1.5, True, Inner(1), (Inner(2), Inner(3)), {"up": [1]})

    def test_there_and_back(self) -> None:
        """An answer survives JSON text; fields that are not known are ignored."""
        value = json.loads(json.dumps(self.outer.to_json()))
        self.assertEqual(self.outer, Outer.from_json({**value, "new": 1}))

    def test_none(self) -> None:
        """A field that may be missing may be missing."""
        outer = Outer.from_json({"name": "x", "sure": False, "several": []})
        self.assertEqual((None, None, None), (outer.when, outer.inner, outer.other))

    def test_whole_number(self) -> None:
        """A whole number is a time, too."""
        self.assertEqual(3.0, Outer.from_json({**self.outer.to_json(), "when": 3}).when)

    def test_wrong(self) -> None:
        """What has another type is refused, with the name of the field."""
        for field, value in (
            ("name", 1),
            ("name", None),
            ("when", "now"),
            ("when", True),
            ("sure", 1),
            ("inner", []),
            ("inner", {"count": True}),
            ("several", {}),
            ("several", [1]),
            ("other", 1),
        ):
            with self.assertRaisesRegex(ValueError, rf"Outer\.{field}: "):
                Outer.from_json({**self.outer.to_json(), field: value})
        for value in (None, 1, "x", []):
            with self.assertRaises(ValueError):
                Outer.from_json(value)

    def test_answers(self) -> None:
        """The answers of the admin API survive JSON text."""
        for answer in (
            RepositoryUse("docker.io", None, 1, 2, 3, 4, 5),
            Removal(("x",), (), ("sha256:1",), 5, ()),
        ):
            self.assertEqual(
                answer, type(answer).from_json(json.loads(json.dumps(answer.to_json())))
            )


class Tree(SynchronousTestCase):
    """Answers that are encoded in pieces."""

    short = Outer("x", 1.5, True, Inner(1), (Inner(2), Inner(3)), {"up": [1]})

    def same(self, answer: Answer, piece: int = PIECE) -> None:
        whole = json.dumps(answer.to_json(), separators=(",", ":"), allow_nan=False).encode()
        self.assertEqual(whole, encode(answer, piece))

    def test_short(self) -> None:
        """A short answer is encoded at once."""
        self.assertFalse(is_long(self.short))
        self.assertEqual(1, len(list(as_json._pieces(self.short, PIECE))))
        self.same(self.short)

    def test_long(self) -> None:
        """A long answer is encoded in pieces of a limited size, to the same text."""
        several = tuple(map(Inner, range(1500)))
        long = evolve(self.short, several=several)
        self.assertTrue(is_long(long))
        sizes = [piece.count("count") for piece in as_json._pieces(long, 100)]
        self.assertGreater(len(sizes), 30)
        self.assertLessEqual(max(sizes), 100)
        self.same(long, 100)
        self.same(Names(tuple(str(each) for each in range(201))), 100)

    def test_long_by_itself(self) -> None:
        """An answer with a few thousand parts is long enough to be encoded in pieces."""
        self.assertFalse(is_long(Names(("x",) * (PIECE - 10))))
        names = Names(tuple(str(each) for each in range(2 * PIECE + 1)))
        self.assertTrue(is_long(names))
        self.assertGreater(len(list(as_json._pieces(names, PIECE))), 4)
        self.same(names)

    def test_deep(self) -> None:
        """An answer whose parts are long is encoded in pieces, however they are spread."""
        parts = tuple(
            Outer(str(each), None, False, None, tuple(map(Inner, range(each))), None)
            for each in (0, 1, 100, 500, 0, 35, 35, 35, 1)
        )
        self.assertTrue(is_long(Trees(parts * 20)))
        pieces = list(as_json._pieces(Trees(parts), 100))
        self.assertLessEqual(max(piece.count("count") for piece in pieces), 100)
        self.same(Trees(parts), 100)
        self.same(Trees(parts * 20), 100)

    @given(
        st.recursive(st.just(()), lambda each: st.lists(each, max_size=8).map(tuple), max_leaves=30)
    )
    def test_any(self, shape: Shape) -> None:
        """Any answer is encoded as if it was at once."""
        self.same(Trees(tuple(map(_outer, shape))), 5)
