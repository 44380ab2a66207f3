"""Rules for workloads and their pods."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.tools.release import ReleaseTestCase
from tools.chart.workloads import quantity


class Quantities(SynchronousTestCase):
    """quantity."""

    def test_suffixes(self) -> None:
        """Suffixes are powers of 1000 and of 1024, upwards and downwards."""
        for text, number in {
            "2": 2,
            "0.5": Decimal("0.5"),
            "100m": Decimal("0.1"),
            "1k": 1000,
            "1Ki": 1024,
            "64Mi": 64 * 1024**2,
            "3G": 3 * 1000**3,
        }.items():
            self.assertEqual(number, quantity(text), text)

    def test_no_quantity(self) -> None:
        """Anything else is refused."""
        for text in ("", "1 Gi", "1gi", "-1", "1Kib"):
            with self.assertRaises(ValueError, msg=text):
                quantity(text)


class Workloads(ReleaseTestCase):
    """tools.chart.workloads."""

    def test_resources(self) -> None:
        """Nobody asks for more than the limit."""
        self.container["resources"] = {"requests": {"cpu": "1100m"}, "limits": {"cpu": "1"}}
        self.found("asks for 1100m of cpu, limited to 1")

    def test_volumes(self) -> None:
        """What is mounted is there, what is there is mounted, and one thing at a place."""
        self.container["volumeMounts"] += [
            {"name": "gone", "mountPath": "/gone"},
            {"name": "data", "mountPath": "/data"},
        ]
        self.pod["volumes"] += [{"name": "idle", "emptyDir": {}}, {"name": "idle", "emptyDir": {}}]
        self.found(
            "two volumes have one name",
            "/data is mounted 2 times",
            "gone is not there",
            "idle is not used",
        )

    def test_claims_of_replicas(self) -> None:
        """The claims that a StatefulSet makes are volumes of its pods."""
        self.deployment["kind"] = "StatefulSet"
        del self.spec["strategy"]
        self.spec["serviceName"] = "cache"
        self.pod["volumes"] = []
        self.spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}}]
        self.found()

    def test_environment(self) -> None:
        """A variable is set once, to one thing, and nobody else's come in."""
        del self.pod["enableServiceLinks"]
        self.container["env"] += [
            {"name": "TWICE", "value": "a"},
            {"name": "TWICE", "value": "b"},
            {"name": "NOTHING"},
        ]
        self.found(
            "the variables of services are set", "TWICE is set 2 times", "NOTHING has no value"
        )

    def test_variables_of_services(self) -> None:
        """The variables of services are there for a script that reads one."""
        self.container["command"] = ["sh", "-c", "echo ${CACHE_PORT#tcp://}"]
        self.found("the variables of services are set, or missing")
        self.pod["enableServiceLinks"] = True
        self.found()

    def test_ending(self) -> None:
        """There is time to sleep and to let responses finish, and some to spare."""
        self.pod["terminationGracePeriodSeconds"] = 35
        self.found("35 s to stop, and 35 s are promised")

    def test_volume_of_the_old_pod(self) -> None:
        """Where one node has the volume, the old pod goes before the new one comes."""
        self.spec["strategy"] = {"type": "RollingUpdate"}
        self.found("waits for the volume of the old one")

    def test_volume_of_many(self) -> None:
        """Several replicas do not want a volume of one node; one of many nodes is fine."""
        self.spec["replicas"] = 2
        self.found("several replicas want one volume")
        self.claim["spec"]["accessModes"] = ["ReadWriteMany"]
        self.spec["strategy"] = {"type": "RollingUpdate"}
        self.found()

    def test_stuck(self) -> None:
        """A roll-out may have one pod more, or one less."""
        self.claim["spec"]["accessModes"] = ["ReadWriteMany"]
        self.spec["strategy"] = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}
        self.found("neither one more nor one less")

    def test_port_of_the_node(self) -> None:
        """Two pods of a node do not have one port of it."""
        self.on_nodes()
        self.spec["updateStrategy"] = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        self.found("would share a port")


class Scaling(ReleaseTestCase):
    """HorizontalPodAutoscalers."""

    def setUp(self) -> None:
        super().setUp()
        self.claim["spec"]["accessModes"] = ["ReadWriteMany"]
        del self.spec["replicas"]
        self.scaler: dict[str, Any] = self.add(
            "HorizontalPodAutoscaler",
            scaleTargetRef={"kind": "Deployment", "name": "cache"},
            minReplicas=1,
            maxReplicas=3,
            metrics=[{"resource": {"name": "cpu"}}],
        )

    def test_right(self) -> None:
        """One that scales what is there, by what it asks for, is right."""
        self.found()

    def test_replicas(self) -> None:
        """What an autoscaler scales has no number of replicas."""
        self.spec["replicas"] = 1
        self.found("each upgrade would undo")

    def test_bounds(self) -> None:
        """The least is no more than the most."""
        self.scaler["minReplicas"] = 4
        self.found("from 4 to 3")

    def test_target(self) -> None:
        """What is scaled is there."""
        self.scaler["scaleTargetRef"]["name"] = "other"
        self.found("what it scales cannot be scaled")

    def test_metrics(self) -> None:
        """There is something to scale by, of which pods ask for some."""
        self.scaler["metrics"] = [{"resource": {"name": "memory"}}]
        self.found("a share of memory, of which nothing is asked for")
        self.scaler["metrics"] = []
        self.found("nothing to scale by")
