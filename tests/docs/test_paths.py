"""The modules and tests that pages of the explanation name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PROJECT = Path(__file__).parents[2]
PAGES = [
    PROJECT / "docs" / "explanation" / f"{name}.md"
    for name in ("architecture", "security-model", "the-transfer", "freshness")
]
_PLACES = ("oci_registry", "tests", "")
# Two words or more with slashes between them, and perhaps the name of something in a module.
_PATH = re.compile(r"`([a-z0-9_]+(?:/[a-z0-9_]+)+)(?:\.[A-Za-z_]\w*)*`")


def missing(text: str) -> set[str]:
    """Return the paths in a page that lead to no module, package or test."""
    return {
        path
        for path in _PATH.findall(text)
        if not any(
            (PROJECT / place / (path + end)).exists() for place in _PLACES for end in ("", ".py")
        )
    }


def shown_layers(text: str) -> list[set[str]]:
    """Return the layers of modules in the first block of a page, from the top.

    A layer that begins with ``|`` continues the one above it.
    """
    layers: list[set[str]] = []
    for line in text.split("```\n")[1].splitlines():
        names = line.strip().split("  ")[0]
        if not names.startswith("|"):
            layers.append(set())
        layers[-1].update(re.findall(r"\w+", names))
    return layers


class Paths(SynchronousTestCase):
    """Paths in code spans, which no link checker follows."""

    def test_pages(self) -> None:
        """Every module and test that a page names exists."""
        for page in PAGES:
            self.assertEqual(set(), missing(page.read_text("utf-8")), page)

    def test_layers(self) -> None:
        """The list of modules is the one that imports are checked against."""
        rules = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
        (packages,) = (
            c for c in rules["tool"]["importlinter"]["contracts"] if c["id"] == "packages"
        )
        checked = [set(re.findall(r"\w+", layer)) for layer in packages["layers"]]
        self.assertEqual(checked, shown_layers(PAGES[0].read_text("utf-8")))

    def test_noticed(self) -> None:
        """What does not exist is noticed, and a name inside of a module is no part of the path."""
        text = "`web/reply.partial`, `upstream/schemes`, `unit/web/test_v2`, `web/nothing`"
        self.assertEqual({"web/nothing"}, missing(text))
