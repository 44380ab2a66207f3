"""Answers as JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.management.answers import Removal, RepositoryUse
from oci_registry.management.as_json import Answer


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
        """So do those that there are."""
        for answer in (
            RepositoryUse("docker.io", None, 1, 2, 3, 4, 5),
            Removal(("x",), (), ("sha256:1",), 5, ()),
        ):
            self.assertEqual(
                answer, type(answer).from_json(json.loads(json.dumps(answer.to_json())))
            )
