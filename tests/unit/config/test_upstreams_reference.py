"""The reference of the upstream file, and what is read of one."""

from __future__ import annotations

import os
import re
from pathlib import Path

from attrs import fields_dict
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.findings import Findings
from oci_registry.config.hosts import HOST_KEYS, MAX_HOSTS
from oci_registry.config.settings import HostSettings, UpstreamSettings
from oci_registry.config.upstreams import KEYS, OPTIONS, load_upstreams
from oci_registry.spec.durations import parse_duration
from oci_registry.upstream.agent import USER_AGENT
from tests.support.tables import PROJECT, REFERENCE, Table, table_below

PAGE = REFERENCE / "upstream-file.md"
_CODE = re.compile(r"`([^`]+)`")


def table(of_hosts: bool) -> Table:
    """Return the rows of the keys of an entry, or of a host."""
    return table_below(PAGE, "Hosts" if of_hosts else "")


def keys(rows: Table) -> list[str]:
    """Return the keys that rows are about."""
    return [key for row in rows for key in _CODE.findall(row[0])]


class Reference(SynchronousTestCase):
    """docs/reference/upstream-file.md, and the short form of it in the README."""

    def complaints(self, lines: str) -> str:
        """Return what is said of an entry with some lines more."""
        file = Path(self.mktemp())
        file.write_text(f"- namespace: a.example\n  host: a.example\n  {lines}\n", "utf-8")
        findings = Findings()
        load_upstreams(os.fspath(file), findings)
        return "\n".join(findings.problems)

    def test_keys(self) -> None:
        """Every key is there once, where it belongs, and no other."""
        of_hosts, of_entries = keys(table(of_hosts=True)), keys(table(of_hosts=False))
        self.assertEqual(sorted(HOST_KEYS), sorted([*of_hosts, "host"]))
        self.assertEqual(sorted(KEYS), sorted([*of_hosts, *of_entries]))

    def test_readme(self) -> None:
        """The README has every key, with the default that the reference has."""
        short = table_below(PROJECT / "README.md", "Configuration", 1)
        self.assertEqual(sorted(KEYS), sorted(keys(short)))
        told = {
            key: row[2]
            for rows in (table(True), table(False))
            for row in rows
            for key in keys([row])
        }
        with_defaults = [row for row in short if row[1].startswith("`")]
        self.assertGreater(len(with_defaults), 9)
        for row in with_defaults:
            for name, default in zip(keys([row]), row[1].split(", "), strict=True):
                self.assertEqual(default, told[name], name)

    def test_defaults(self) -> None:
        """What is reported as a default is the default, of the type that is reported."""
        entry = UpstreamSettings("a.example", (HostSettings("a.example"),))
        kinds = {"duration": parse_duration, "true or false": lambda text: text == "true"}
        compared = set()
        for settings, of_hosts in ((entry, False), (entry.hosts[0], True)):
            for key, kind, default, _ in table(of_hosts):
                (name,) = _CODE.findall(key)
                if name not in fields_dict(type(settings)) or not default.startswith("`"):
                    continue
                (text,) = _CODE.findall(default)
                if text in KEYS:
                    # It stands in for this one, and has no default.
                    self.assertIsNone(getattr(settings, name))
                    continue
                if name == "user_agent":
                    # What stands in for none is known to who sends it.
                    self.assertEqual(text, USER_AGENT)
                    continue
                parse = int if re.match(r"\d+ to \d+", kind) else kinds.get(kind, str)
                self.assertEqual(parse(text), getattr(settings, name), name)
                compared.add(name)
        others = {"tls", "accept_invalid_certs"}
        # What these say is nothing, if they are not given.
        absent = {"user_agent", "min_age", "pin", "max_size"}
        self.assertEqual({*OPTIONS, *others} - absent, compared)

    def test_types(self) -> None:
        """What is not of the type that is told is refused."""
        for row in table(of_hosts=False):
            (key,) = _CODE.findall(row[0])
            if row[1] == "true or false":
                self.assertIn("must be true or false", self.complaints(f"{key}: 7"))
            elif row[1] == "duration":
                self.assertIn("must be a duration", self.complaints(f"{key}: true"))
                positive = "not `0s`" in row[3]
                self.assertEqual(positive, "longer than 0s" in self.complaints(f"{key}: 0s"), key)

    def test_bounds(self) -> None:
        """Numbers are accepted up to the bounds that are reported, and not beyond."""
        bounded = [row for row in table(of_hosts=False) if re.match(r"\d+ to \d+", row[1])]
        self.assertEqual(
            ["retries", "max_connections", "rate_limit_reserve", "keep_newest_tags"], keys(bounded)
        )
        for row in bounded:
            (key,) = keys([row])
            least, most = map(int, row[1].split(" to "))
            for number, accepted in (
                (least - 1, False),
                (least, True),
                (most, True),
                (most + 1, False),
            ):
                self.assertEqual(accepted, not self.complaints(f"{key}: {number}"), (key, number))

    def test_hosts(self) -> None:
        """The most hosts that there may be are reported."""
        self.assertIn(f"`hosts` has up to {MAX_HOSTS} items", PAGE.read_text("utf-8"))
