"""What pages, alerts and the dashboard say of metrics, and what is exported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics

PROJECT = Path(__file__).parents[2]
CHART = PROJECT / "charts" / "oci-registry"
RULES = CHART / "templates" / "prometheusrule.yaml"
DASHBOARD = CHART / "dashboards" / "oci-registry.json"
PAGE = PROJECT / "docs" / "how-to" / "monitoring.md"
PAGES = sorted([*(PROJECT / "docs").rglob("*.md"), *PROJECT.glob("*.md"), CHART / "README.md"])

# Not a part of a path, nor of the name of a file.
_NAME = re.compile(
    r"(?<![\w/.])(?:oci_registry|manifest_cache|blob_cache|process|python)_[a-z_]+(?![\w/]|\.\w)"
)
_SELECTOR = re.compile(r"(?<![\w/])([a-z_]+)\{([^{}]*)\}")
_LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
_OF_TARGETS = {"namespace", "job"}
"""Labels by which Prometheus tells one installation from another."""
# What the template writes for these two, however it is laid out.
_WHERE = re.compile(r"\{ \{\{- \$where -\}\} (,[^}]*)?\}")


def expressions(node: object) -> Iterator[str]:
    """Give every expression of a dashboard or of rules."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "expr":
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def chart_rules() -> dict[str, str]:
    """Return the alerts of the chart by name, with the labels of the page in place of the release's."""
    text = _WHERE.sub(
        lambda match: '{namespace="images",job="oci-registry"' + (match[1] or "") + "}",
        RULES.read_text("utf-8"),
    )
    found = {}
    for block in text.split("- alert: ")[1:]:
        name, _, rest = block.partition("\n")
        expression = rest.partition("expr:")[2].partition("\n          for:")[0]
        expression = expression.partition("\n          labels:")[0].replace("|-", "")
        found[name] = " ".join(expression.split())
    return found


def page_rules() -> dict[str, str]:
    """Return the alerts of the page by name."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (groups,) = [loaded["groups"] for loaded in map(yaml.safe_load, blocks) if "groups" in loaded]
    return {
        rule["alert"]: " ".join(rule["expr"].split()) for group in groups for rule in group["rules"]
    }


class Names(SynchronousTestCase):
    """Names of metrics, wherever they are written down."""

    def setUp(self) -> None:
        metrics = Metrics()
        metrics.watch_connections(lambda: 0)
        self.labels: dict[str, set[str]] = {}
        for collector in list(metrics.registry._collector_to_names):
            for metric in collector.collect():
                labels = set(getattr(metric, "_labelnames", ()))
                labels |= set(getattr(collector, "_labelnames", ()))
                ends = {
                    "counter": ("_total", "_created"),
                    "histogram": ("_bucket", "_count", "_sum"),
                }
                for end in ("", *ends.get(metric.type, ())):
                    extra = {"le"} if end == "_bucket" else set()
                    # Ours that have a class of their own have one label, and it knows of none.
                    own = {"namespace"} if "_cache_" in metric.name else labels
                    self.labels[metric.name + end] = own | extra

    def unknown(self, text: str) -> set[str]:
        """Return what looks like the name of a metric and is none."""
        return {name for name in _NAME.findall(text) if name not in self.labels}

    def test_looked_for(self) -> None:
        """Names are found where they are, and those that nobody exports are noticed."""
        text = "`oci_registry_errors_total{kind}`, process_fds; oci_registry_plugin.py, a/process_title"
        self.assertEqual({"process_fds"}, self.unknown(text))

    def test_pages(self) -> None:
        """No page names a metric that is not exported."""
        for page in PAGES:
            self.assertEqual(set(), self.unknown(page.read_text("utf-8")), page)

    def test_chart(self) -> None:
        """The chart's alerts and dashboard name no metric that is not exported."""
        for file in (RULES, DASHBOARD):
            text = file.read_text("utf-8")
            self.assertTrue(_NAME.findall(text), file)
            self.assertEqual(set(), self.unknown(text), file)

    def test_labels(self) -> None:
        """What alerts and dashboard select by are labels that the metric has."""
        dashboard = list(expressions(json.loads(DASHBOARD.read_text("utf-8"))))
        self.assertTrue(dashboard)
        for expression in (*dashboard, *chart_rules().values(), *page_rules().values()):
            for name, selector in _SELECTOR.findall(expression):
                if name in self.labels:
                    wanted = set(_LABEL.findall(selector)) - _OF_TARGETS
                    self.assertLessEqual(wanted, self.labels[name], expression)


class Alerts(SynchronousTestCase):
    """The rules for a Prometheus outside of a cluster."""

    def test_as_in_the_chart(self) -> None:
        """They are the chart's, but for the name of what is asked."""
        expected = {name: e.replace("by (pod", "by (instance") for name, e in chart_rules().items()}
        self.assertEqual(expected, page_rules())

    def test_explained(self) -> None:
        """Each is told of on the page, by its name without what all of them begin with."""
        text = PAGE.read_text("utf-8")
        for name in page_rules():
            self.assertIn(f"`{name.removeprefix('OciRegistry')}`", text)
