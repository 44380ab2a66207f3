"""Tests that need helm."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

from tools.chart import helm
from tools.chart.gotools import HELM, KUBECONFORM, NoGo, program
from tools.chart.objects import WORKLOADS, for_nodes

SETS = helm.CHART / "ci"


def need_programs() -> None:
    """Skip a test where the programs can neither be found nor built."""
    try:
        program(HELM)
        program(KUBECONFORM)
    except NoGo as error:
        raise SkipTest(str(error)) from None


class ChartTestCase(TestCase):
    """A test of what helm makes of the chart."""

    timeout = 120

    def setUp(self) -> None:
        need_programs()

    def render(self, *sets: str, **values: object) -> dict[str, dict[str, Any]]:
        """Return the objects for sets of values, by kind and name.

        Values that are given beside have ``__`` for each dot.
        """
        files = [SETS / f"{name}-values.yaml" for name in sets]
        changed = {key.replace("__", "."): value for key, value in values.items()}
        return {
            f"{each['kind']}/{each['metadata']['name']}": each
            for each in helm.objects(*files, values=changed)
        }

    def refused(self, *sets: str, **values: object) -> str:
        """Return why there is nothing for these values."""
        return str(self.assertRaises(helm.HelmFailed, self.render, *sets, **values))


def workload(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the workload of the cache itself."""
    (found,) = (
        each for each in objects.values() if each["kind"] in WORKLOADS and not for_nodes(each)
    )
    return found


def container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the daemon's container."""
    found: dict[str, Any] = workload(objects)["spec"]["template"]["spec"]["containers"][0]
    return found


def variables(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the variables of the daemon's container, the one given last if several are."""
    return {each["name"]: each.get("value") for each in container(objects)["env"]}
