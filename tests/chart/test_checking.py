"""The check of the chart: what is misspelt is found, and what checks nothing fails."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from tests.chart.support import ChartTestCase
from tools.chart import conformance, helm
from tools.chart.__main__ import check, check_set
from tools.kube_schemas import read_documents

POD = "_pod.tpl"


class Misspelt(ChartTestCase):
    """A chart that is copied and damaged."""

    def setUp(self) -> None:
        super().setUp()
        self.chart = Path(self.mktemp()) / "oci-registry"
        shutil.copytree(helm.CHART, self.chart)

    def damage(self, template: str, right: str, wrong: str) -> None:
        """Put something wrong into a template."""
        path = self.chart / "templates" / template
        text = path.read_text("utf-8")
        self.assertIn(right, text)
        path.write_text(text.replace(right, wrong), "utf-8")

    def problems(self, values: str = "default") -> list[str]:
        """Check the chart with a set of values and return what is wrong."""
        _, wrong = check_set(self.chart, self.chart / "ci" / f"{values}-values.yaml")
        return wrong

    def test_right(self) -> None:
        """The copy alone has no problems."""
        self.assertEqual([], self.problems())

    def test_misspelt_field(self) -> None:
        """A misspelt field is found, however deep it is and whichever kind of object it is in."""
        for values, template, right, wrong in (
            ("default", POD, "enableServiceLinks:", "enableServiceLink:"),
            ("default", POD, "containerPort: {{", "containerport: {{"),
            ("default", "service.yaml", "targetPort:", "target:"),
            ("default", "workload.yaml", "  namespace:", "  nameSpace:"),
            ("monitoring", "servicemonitor.yaml", "scrapeTimeout:", "timeout:"),
            ("monitoring", "servicemonitor.yaml", "  labels:", "  label:"),
            ("monitoring", "prometheusrule.yaml", "expr:", "expression:"),
        ):
            self.damage(template, right, wrong)
            self.assertTrue(self.problems(values), wrong)
            self.damage(template, wrong, right)
        self.assertEqual([], self.problems())

    def test_wrong_type(self) -> None:
        """A value of the wrong type is found."""
        self.damage(
            POD, """containerPort: {{ include "oci-registry.port" . }}""", "containerPort: http"
        )
        self.assertTrue(any("containerPort" in problem for problem in self.problems()))

    def test_unknown_kind(self) -> None:
        """An object that nobody defines is found, not passed over."""
        self.damage("service.yaml", "apiVersion: v1\nkind: Service", "apiVersion: v1\nkind: Srvice")
        self.assertTrue(any("Srvice" in problem for problem in self.problems()))

    def test_broken_rule(self) -> None:
        """What Kubernetes' schemas allow and a rule does not is found."""
        self.damage("service.yaml", "name: http", "name: http\n      nodePort: 5000")
        self.assertTrue(any("the port 5000 of nodes" in problem for problem in self.problems()))

    def test_lint(self) -> None:
        """What helm itself finds is found."""
        self.damage("service.yaml", "{{- $service := .Values.service }}", "{{ nonsense }}")
        self.assertTrue(any("nonsense" in problem for problem in self.problems()))

    def test_nothing(self) -> None:
        """A chart that makes nothing is not right."""
        for template in (self.chart / "templates").rglob("*.yaml"):
            template.unlink()
        self.assertIn("no objects", self.problems())

    def test_no_sets(self) -> None:
        """Without enough sets of values the check fails."""
        for path in (self.chart / "ci").iterdir():
            if path.name != "default-values.yaml":
                path.unlink()
        said = io.StringIO()
        self.patch(sys, "stdout", said)
        self.assertEqual(1, check(self.chart))
        self.assertIn("there are 1 sets of values, and 10 are wanted", said.getvalue())

    def test_empty(self) -> None:
        """Of nothing, nothing is right."""
        self.assertEqual((0, []), conformance.check(""))

    def test_twice(self) -> None:
        """A key that is given twice is found."""
        text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {}\ndata: {}\n"
        self.assertEqual(1, len(read_documents(text)))
        right, wrong = conformance.check(text)
        self.assertEqual((0, 1), (right, len(wrong)), wrong)
