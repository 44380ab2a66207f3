"""The alerts of the chart, which Prometheus fills in."""

from __future__ import annotations

from typing import Any

from tests.chart.support import ChartTestCase

RULES = "PrometheusRule/test-oci-registry"


class Alerts(ChartTestCase):
    """The PrometheusRule."""

    def alerts(self, **values: object) -> dict[str, dict[str, Any]]:
        """Return the alerts by name."""
        rules = self.render(metrics__prometheusRule__enabled=True, **values)[RULES]
        (group,) = rules["spec"]["groups"]
        return {each["alert"]: each for each in group["rules"]}

    def test_down(self) -> None:
        """A replica that does not answer is a warning, and none that does is critical."""
        alert = self.alerts()["OciRegistryDown"]
        one, _, none = alert["expr"].partition(" or ")
        where = '{namespace="images",job="test-oci-registry"}'
        self.assertEqual(f"min by (pod) (up{where}) == 0", one)
        self.assertEqual(f"absent(up{where} == 1)", none)
        self.assertEqual(
            "{{ if $labels.pod }}warning{{ else }}critical{{ end }}", alert["labels"]["severity"]
        )

    def test_denied(self) -> None:
        """A registry that denies much has an alert of its own, by registry."""
        expression = self.alerts()["OciRegistryAccessDenied"]["expr"]
        self.assertIn('outcome="403"', expression)
        self.assertIn("by (exported_namespace)", expression)

    def test_runbook(self) -> None:
        """Each alert leads to the published page, if there is one."""
        url = "https://docs.example.com"
        page = f"{url}/how-to/monitoring.html#alerts"
        for given in (url, f"{url}/"):
            for name, alert in self.alerts(metrics__prometheusRule__runbookBaseUrl=given).items():
                self.assertEqual(page, alert["annotations"]["runbook_url"], name)
        for name, alert in self.alerts().items():
            self.assertNotIn("runbook_url", alert["annotations"], name)
