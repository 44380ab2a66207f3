"""The files of the chart, without helm: they agree with each other and with the daemon."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from oci_registry import __version__
from oci_registry.metrics import Metrics

CHART = Path(__file__).parents[3] / "charts" / "oci-registry"
ROW = re.compile(r"\| `([^`]+)` \| (.+?) \| (.+) \|")
# What Kubernetes defines: the schema of the values leaves it to Kubernetes.
FOREIGN = {
    "livenessProbe",
    "metrics.dashboard.labels",
    "nodeSetup.nodeSelector",
    "nodeSetup.resources",
    "nodeSetup.securityContext",
    "nodeSetup.updateStrategy",
    "podSecurityContext",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "test.resources",
    "topologySpreadConstraints",
}
METRIC = re.compile(r"\b((?:oci_registry|manifest_cache|blob_cache|process)_[a-z_]+)(?=[{\[),\s])")
MATCHER = re.compile(r"([a-z_]+)(?:=~|!~|!=|=)")
GROUPED = re.compile(r"by \(([a-z_, ]+)\)")
# What Prometheus adds: about the pod, the metric's own "namespace" when there are two, and buckets.
ADDED = {"exported_namespace", "job", "le", "namespace", "pod"}


def leaves(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Give the path and the default of everything that can be set."""
    for key, value in values.items():
        where = f"{path}{key}"
        if isinstance(value, dict) and value and where not in FOREIGN:
            yield from leaves(value, f"{where}.")
        else:
            yield where, value


def named(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Give the path of everything that a schema of values names."""
    for key, value in schema["properties"].items():
        where = f"{path}{key}"
        if "properties" in value and where not in FOREIGN:
            yield from named(value, f"{where}.")
        else:
            yield where


class Files(SynchronousTestCase):
    """values.yaml, its schema, README.md and Chart.yaml."""

    def setUp(self) -> None:
        self.values = dict(leaves(yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))))

    def test_readme(self) -> None:
        """The table of the README has each value, with its default."""
        page = (CHART / "README.md").read_text("utf-8").partition("\n## Values\n")[2]
        rows = {key: default.strip("`") for key, default, _ in ROW.findall(page)}
        self.assertEqual(list(self.values), list(rows))
        for key, value in self.values.items():
            if key not in FOREIGN:
                text = value if isinstance(value, str) and value else json.dumps(value)
                self.assertEqual(text, rows[key], key)

    def test_schema(self) -> None:
        """The schema knows each value, and none that is not there, at every depth."""
        schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
        self.assertEqual({*self.values, "global"}, set(named(schema)))
        waiting = [schema]
        while waiting:
            part = waiting.pop()
            inner = part.get("properties", {})
            if inner:
                self.assertIs(False, part.get("additionalProperties"), sorted(inner))
            waiting += inner.values()

    def test_version(self) -> None:
        """The chart installs the version that it comes with."""
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
        self.assertEqual(__version__, chart["appVersion"])


class Watching(SynchronousTestCase):
    """The alerts and the dashboard."""

    def known(self) -> dict[str, set[str]]:
        """Return the labels of all metrics that the daemon has, by the names of their samples."""
        metrics = Metrics(["docker.io"])
        metrics.watch_connections(lambda: 0)
        metrics.hit("blob", "docker.io")
        metrics.hit("manifest", "docker.io")
        metrics.miss("blob", "docker.io")
        metrics.miss("manifest", "docker.io")
        metrics.response("blob", "GET", "200", 0.1)
        metrics.client_bytes.labels("blob")
        metrics.upstream_bytes.labels("docker.io")
        metrics.stale_served.labels("docker.io")
        host = metrics.host("docker.io", "registry-1.docker.io")
        host.answered("ok")
        host.available(True)
        host.credentials_refused()
        host.budget(100, 99)
        metrics.error("stale")
        metrics.store_failing.labels("read")
        metrics.swept.labels("blob")
        return {
            sample.name: set(sample.labels)
            for family in metrics.registry.collect()
            for sample in family.samples
        }

    def check(self, text: str, least: int) -> None:
        """Check that all metrics of some queries, and their labels, are the daemon's."""
        known = self.known()
        found = set(METRIC.findall(text))
        self.assertGreaterEqual(len(found), least)
        self.assertEqual(set(), found - set(known))
        for query in text.splitlines():
            labels = {name for metric in METRIC.findall(query) for name in known[metric]} | ADDED
            matched = {
                name
                for matchers in re.findall(r"\{([^{}]*)\}", query)
                for name in MATCHER.findall(re.sub(r'"[^"]*"', "", matchers))
            }
            grouped = {name for group in GROUPED.findall(query) for name in group.split(", ")}
            if METRIC.search(query):
                self.assertEqual(set(), (matched | grouped) - labels, query)

    def test_dashboard(self) -> None:
        """The dashboard asks for metrics that there are, by labels that they have."""
        board = json.loads((CHART / "dashboards" / "oci-registry.json").read_text("utf-8"))
        queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        self.check("\n".join(queries), 15)
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))

    def test_alerts(self) -> None:
        """The alerts ask for metrics that there are, by labels that they have."""
        template = (CHART / "templates" / "prometheusrule.yaml").read_text("utf-8")
        # The braces of the template stand where those of the selector will.
        self.check(re.sub(r"\{ \{\{- \$where -\}\} (,?)", r'{job="x"\1', template), 4)
