"""What is shown on the pages can be read by whom it is for."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.findings import Findings
from oci_registry.config.upstreams import load_upstreams
from tests.docs.blocks import Block, blocks_of, pages, shown_blocks
from tests.docs.shown import SCRIPTS
from tests.support.certificates import Certified

SCRIPT_LANGUAGES = ("sh", "console")
# Of these nothing here can tell whether they are right.
_ONLY_SHOWN = {"", "text", "nginx"}


def _ini(text: str) -> None:
    # A unit may set a thing twice.
    configparser.ConfigParser(strict=False, interpolation=None).read_string(text)


_PARSERS: dict[str, Any] = {
    "json": json.loads,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
    "ini": _ini,
}


def script_of(block: Block) -> str:
    """Return what is to be typed: of a session, what stands behind the prompts."""
    if block.language == "console":
        return "".join(re.findall(r"^\$ (.*\n)", block.text, re.M))
    return block.text


def is_upstream_file(block: Block) -> bool:
    """Whether a block is an upstream file: a list of registries."""
    if block.language != "yaml":
        return False
    data = yaml.safe_load(block.text)
    return isinstance(data, list) and all("namespace" in entry for entry in data)


def write_upstream_file(text: str, file: Path) -> None:
    """Write an upstream file, and beside it what it names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    certified = Certified("mirror.example")
    for name in re.findall(r"_file: *(\S+)", text):
        beside = file.parent / name
        beside.write_bytes(certified.certificate + certified.key)
        if "password" in name:
            beside.write_text("hunter2\n", "ascii")
        beside.chmod(0o600)
    file.write_text(text, "utf-8")
    file.chmod(0o600)


class Blocks(SynchronousTestCase):
    """Every fenced block."""

    def test_scripts_are_known(self) -> None:
        """Of each script it is said how it is known to work, page by page and in order."""
        told = {
            (page, number): title
            for page in SCRIPTS
            for number, (title, _) in enumerate(SCRIPTS[page])
        }
        found: dict[tuple[str, int], Block] = {}
        for block in shown_blocks(*SCRIPT_LANGUAGES):
            number = sum(page == block.page for page, _ in found)
            found[block.page, number] = block
        self.assertEqual(sorted(told), sorted(found), "tests/docs/shown.py and the pages")
        for key, block in found.items():
            self.assertTrue(block.title.startswith(told[key]), f"{block.where}: {block.title}")

    def test_scripts(self) -> None:
        """A shell can parse each script."""
        for block in shown_blocks(*SCRIPT_LANGUAGES):
            self.assertIsNone(self.complaint(script_of(block)), block.where)
        self.assertIn("unexpected EOF", str(self.complaint("echo 'a\n")))

    def complaint(self, script: str) -> str | None:
        """Return what a shell says of a script that it does not run."""
        done = subprocess.run(
            ["bash", "-n"], input=script, check=False, capture_output=True, text=True
        )
        return done.stderr or None

    def test_files(self) -> None:
        """Each file in a known language is one, and languages are known or only shown."""
        for block in shown_blocks(*_PARSERS):
            try:
                _PARSERS[block.language](block.text)
            except (ValueError, yaml.YAMLError, configparser.Error) as error:
                self.fail(f"{block.where}: {error}")

    def test_languages(self) -> None:
        """No block is in a language that is not looked at by mistake."""
        known = {*_PARSERS, *SCRIPT_LANGUAGES, *_ONLY_SHOWN}
        fences = sum(len(re.findall(r"^ *```", page.read_text("utf-8"), re.M)) for page in pages())
        self.assertEqual(fences, 2 * len(shown_blocks(*known)))

    def test_upstream_files(self) -> None:
        """Each upstream file that is shown loads, without a word of warning."""
        found = [block for block in shown_blocks("yaml") if is_upstream_file(block)]
        self.assertTrue(found)
        for block in found:
            file = Path(self.mktemp()) / "upstreams.yaml"
            write_upstream_file(block.text, file)
            findings = Findings()
            upstreams = load_upstreams(os.fspath(file), findings)
            self.assertEqual(([], []), (findings.problems, findings.warnings), block.where)
            self.assertEqual(len(yaml.safe_load(block.text)), len(upstreams), block.where)

    def test_lists(self) -> None:
        """A block within a list is read without the list's indentation, and knows its line."""
        text = "* so:\n\n  ```sh\n  a \\\n    b\n  c\n  ```\n"
        (block,) = blocks_of("page.md", text)
        self.assertEqual((3, "sh", "a \\\n  b\nc\n"), (block.line, block.language, block.text))
        self.assertEqual(["a    b", "c"], block.commands)
        self.assertEqual("page.md:3", block.where)
