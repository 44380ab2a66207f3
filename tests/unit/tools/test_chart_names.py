"""Rules for names, labels and ports."""

from __future__ import annotations

from tests.unit.tools.release import ReleaseTestCase
from tools.chart.rules import MARK, exposed


class Names(ReleaseTestCase):
    """tools.chart.names."""

    def test_nothing_wrong(self) -> None:
        """A release in which nothing is wrong has no problems."""
        self.found()

    def test_invalid_name(self) -> None:
        """A name is a name of DNS, and that of a Service begins with a letter."""
        self.claim["metadata"]["name"] = "Cache"
        self.pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = "Cache"
        self.service["metadata"]["name"] = "1st"
        self.found("Claim Cache: the name is not valid", "Service 1st: the name is not valid")

    def test_long_names(self) -> None:
        """The name of a Service is a label of DNS; that of a StatefulSet leaves room for a hash."""
        self.service["metadata"]["name"] = "a" * 64
        self.deployment["metadata"]["name"] = "b" * 53
        self.deployment["kind"] = "StatefulSet"
        self.spec["serviceName"] = "a" * 64
        self.found("longer than 52", "longer than 63")

    def test_same_name(self) -> None:
        """Two objects of a kind have two names."""
        self.add("Secret", "twice")
        self.add("Secret", "twice")
        self.found("there are 2 of that name")

    def test_namespace(self) -> None:
        """Every object says where it belongs."""
        del self.service["metadata"]["namespace"]
        self.found("no namespace")

    def test_labels(self) -> None:
        """Labels have values of 63 characters at most, and keys with a domain before the slash."""
        self.service["metadata"]["labels"]["team"] = "x" * 64
        self.service["metadata"]["labels"]["-"] = ""
        self.service["metadata"]["annotations"] = {"Bad Domain/key": "any text at all"}
        self.found("'-' is no valid name", "is no domain", "the label team has the value")

    def test_port_names(self) -> None:
        """The name of a port has at most 15 characters and a letter in it, once in a pod."""
        ports = self.container["ports"]
        ports.append({"name": "a-port-with-a-name", "containerPort": 1})
        ports.append({"name": "80", "containerPort": 2})
        ports.append({"name": "http", "containerPort": 3})
        self.found("'a-port-with-a-name' is no name", "'80' is no name", "two ports have one name")

    def test_container_name(self) -> None:
        """The name of a container is a label of DNS."""
        self.container["name"] = "a.b"
        self.found("'a.b' is no name for a container")

    def test_service_ports(self) -> None:
        """Several ports of a Service have names, which are no longer than a label."""
        self.service["spec"]["ports"] += [
            {"port": 81, "targetPort": "http"},
            {"name": "x" * 64, "port": 82, "targetPort": "http"},
        ]
        self.found("several ports need names", "the name of a port is too long")

    def test_exposed(self) -> None:
        """What is marked as a secret is in Secrets only."""
        self.add("Secret", "holds-it", anything=MARK + "x")
        self.assertEqual([], exposed(self.documents))
        self.container["env"][0]["value"] = MARK + "x"
        self.assertEqual(["Deployment cache: holds a secret"], exposed(self.documents))
