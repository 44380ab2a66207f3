"""The reference of metrics, and what is exported."""

from __future__ import annotations

import re
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from tests.support.tables import PROJECT, REFERENCE, Table, table_below

_KINDS = {"counter": "counter", "gauge": "gauge", "histogram": "histogram"}
_CODE = re.compile(r"`([a-z_]+)`")
_OURS = ("Hits and misses", "Clients", "Registries", "Store", "Errors")
"""The headings of tables with our own metrics."""


@frozen
class Told:
    """What a row of the reference tells of a metric."""

    kind: str
    labels: frozenset[str]


def rows(heading: str, number: int = 0) -> Table:
    """Return the cells of a table below a heading, without its head."""
    return table_below(REFERENCE / "metrics.md", heading, number)


class Reference(SynchronousTestCase):
    """docs/reference/metrics.md."""

    def setUp(self) -> None:
        self.metrics = Metrics()
        self.metrics.watch_connections(lambda: 0)

    def collectors(self) -> dict[str, Any]:
        """Return what was made with labels, by the name under which it is exported."""
        found: dict[str, Any] = {}
        for collector in list(self.metrics.registry._collector_to_names):
            for metric in collector.collect():
                labels = getattr(metric, "_labelnames", None) or getattr(
                    collector, "_labelnames", None
                )
                # prometheus-client keeps the end of a counter's name apart.
                end = "_total" if metric.type == "counter" else ""
                found[metric.name + end] = Told(metric.type, frozenset(labels or ()))
        return found

    def told(self) -> dict[str, Told]:
        """Return what the reference tells of each metric of ours."""
        return {
            name: Told(_KINDS[kind], frozenset(_CODE.findall(labels)))
            for heading in _OURS
            for names, kind, labels, _ in rows(heading)
            for name in _CODE.findall(names)
        }

    def test_ours(self) -> None:
        """Every metric of ours is there with its kind and labels, and nothing that is not exported."""
        exported = {
            name: told
            for name, told in self.collectors().items()
            if not name.startswith(("process_", "python_"))
        }
        for name in list(exported):
            if "cache_" in name:
                # Made by ourselves, and not of a class that knows its labels.
                exported[name] = Told("counter", frozenset({"namespace"}))
        self.assertEqual(exported, self.told())

    def test_of_the_program(self) -> None:
        """The metrics that every Python program exports are in the reference."""
        exported = {n for n in self.collectors() if n.startswith(("process_", "python_"))}
        self.assertEqual(
            exported, {name for row in rows("Process") for name in _CODE.findall(row[0])}
        )

    def test_labels(self) -> None:
        """Every label has its values told, but for those that Python's own metrics have."""
        told = {name for row in rows("Labels") for name in _CODE.findall(row[0])}
        used = set().union(*(metric.labels for metric in self.told().values()))
        self.assertEqual(used, told)

    def test_kinds_of_errors(self) -> None:
        """Every kind of error that is counted is reported, and no other; each is exported from the start."""
        sources = (PROJECT / "oci_registry").rglob("*.py")
        counted = re.compile(r'metrics\.error\("([a-z]+)"\)')
        kinds = {kind for source in sources for kind in counted.findall(source.read_text())}
        self.assertEqual(
            kinds, {name for row in rows("Errors", 1) for name in _CODE.findall(row[0])}
        )
        for kind in kinds:
            value = self.metrics.registry.get_sample_value(
                "oci_registry_errors_total", {"kind": kind}
            )
            self.assertEqual(0, value, kind)
