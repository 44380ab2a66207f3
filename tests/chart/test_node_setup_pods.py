"""The pods that configure nodes: which there are, what they may do, and what is said of them."""

from __future__ import annotations

from typing import Any

from tests.chart.support import SETS, ChartTestCase
from tools.chart import helm

SETUP = "test-oci-registry-node-setup"
CA = "/var/lib/oci-registry-setup"


def pod(objects: dict[str, dict[str, Any]], end: str = "") -> dict[str, Any]:
    """Return the spec of the pods of a DaemonSet for nodes."""
    found: dict[str, Any] = objects[f"DaemonSet/{SETUP}{end}"]["spec"]["template"]["spec"]
    return found


def arguments(objects: dict[str, dict[str, Any]], end: str = "") -> list[str]:
    """Return the arguments of setup in them."""
    found: list[str] = pod(objects, end)["initContainers"][0]["args"]
    return found


def notes(*sets: str, **values: object) -> str:
    """Return what is printed after an installation, each run of spaces and line ends as one space."""
    files = [SETS / f"{name}-values.yaml" for name in sets]
    changed = {key.replace("__", "."): value for key, value in values.items()}
    return " ".join(helm.notes(*files, values=changed).split())


class Mirrors(ChartTestCase):
    """Where nodes find the cache."""

    def test_route(self) -> None:
        """The first host of an HTTPRoute is reached by https; an Ingress comes first."""
        self.assertIn(
            "--mirror=https://images.example.com",
            arguments(self.render("http-route", nodeSetup__enabled=True)),
        )
        both = self.render(
            "http-route", "ingress", nodeSetup__enabled=True, ingress__hosts=["a.example"]
        )
        self.assertIn("--mirror=http://a.example", arguments(both))

    def test_load_balancer(self) -> None:
        """A load balancer has an address that is known if the values say which."""
        objects = self.render(
            nodeSetup__enabled=True,
            service__type="LoadBalancer",
            service__loadBalancerIP="192.0.2.7",
        )
        self.assertIn("--mirror=http://192.0.2.7:80", arguments(objects))


class Runtimes(ChartTestCase):
    """Nodes with different runtimes."""

    def test_each(self) -> None:
        """Each runtime has a DaemonSet of its own, on its own nodes, with its own values."""
        objects = self.render("node-setup-mixed")
        self.assertNotIn(f"DaemonSet/{SETUP}", objects)
        for end, client, removes in (
            ("-containerd", "containerd", True),
            ("-microk8s", "containerd", True),
            ("-k3s", "k3s", True),
            ("-crio", "crio", False),
        ):
            spec = pod(objects, end)
            self.assertEqual(
                {"kubernetes.io/os": "linux", "example.com/runtime": end[1:]}, spec["nodeSelector"]
            )
            self.assertEqual(client, arguments(objects, end)[0])
            self.assertIn("--namespace=quay.io", arguments(objects, end))
            self.assertEqual(removes, "lifecycle" in spec["containers"][0])
        volumes = {each["name"]: each for each in pod(objects, "-microk8s")["volumes"]}
        self.assertEqual(
            "/var/snap/microk8s/current/args/certs.d", volumes["client"]["hostPath"]["path"]
        )

    def test_twice(self) -> None:
        """Two of one name are refused."""
        twice = [{"runtime": "k3s"}, {"runtime": "rke2"}, {"runtime": "k3s"}]
        said = self.refused(nodeSetup__enabled=True, nodeSetup__runtimes=twice)
        self.assertIn("nodeSetup.runtimes has k3s twice", said)
        twice[2]["name"] = "others"
        self.render(nodeSetup__enabled=True, nodeSetup__runtimes=twice)


class Rights(ChartTestCase):
    """What the pods can do."""

    def test_account(self) -> None:
        """These pods and the test have accounts of their own, without the role of the cache."""
        objects = self.render("s3-irsa", nodeSetup__enabled=True)
        for name, spec in (
            (SETUP, pod(objects)),
            ("test-oci-registry-test", objects["Pod/test-oci-registry-test"]["spec"]),
        ):
            self.assertEqual(name, spec["serviceAccountName"])
            account = objects[f"ServiceAccount/{name}"]
            self.assertNotIn("role-arn", str(account))
            self.assertIs(False, account["automountServiceAccountToken"])

    def test_given_accounts(self) -> None:
        """Where no account is to be made, they have the default one, or the one that is named."""
        values = {"nodeSetup__enabled": True, "serviceAccount__create": False}
        objects = self.render(**values, serviceAccount__name="with-a-role")
        self.assertEqual([], [each for each in objects if each.startswith("ServiceAccount/")])
        self.assertEqual("default", pod(objects)["serviceAccountName"])
        spec = objects["Pod/test-oci-registry-test"]["spec"]
        self.assertEqual("default", spec["serviceAccountName"])
        objects = self.render(nodeSetup__enabled=True, nodeSetup__serviceAccountName="privileged")
        self.assertEqual("privileged", pod(objects)["serviceAccountName"])
        self.assertNotIn(f"ServiceAccount/{SETUP}", objects)

    def test_stays(self) -> None:
        """A node that is full does not evict them."""
        priority = pod(self.render(nodeSetup__enabled=True))["priorityClassName"]
        self.assertEqual("system-node-critical", priority)

    def test_network(self) -> None:
        """With network policies they can reach nobody, and nobody can reach them."""
        objects = self.render("node-setup-mixed")
        for end in ("-containerd", "-k3s"):
            policy = objects[f"NetworkPolicy/{SETUP}{end}"]["spec"]
            self.assertEqual(
                objects[f"DaemonSet/{SETUP}{end}"]["spec"]["selector"], policy["podSelector"]
            )
            self.assertEqual(["Ingress", "Egress"], policy["policyTypes"])
            self.assertFalse({"ingress", "egress"} & set(policy))

    def test_small(self) -> None:
        """The test of a release takes little, however much the cache does."""
        objects = self.render(resources__requests__cpu="4")
        (container,) = objects["Pod/test-oci-registry-test"]["spec"]["containers"]
        self.assertEqual({"cpu": "10m", "memory": "32Mi"}, container["resources"]["requests"])


class Authority(ChartTestCase):
    """The certificate authority of the cache."""

    def test_copied(self) -> None:
        """Its certificate is put on the node, and setup gets the path that it has there."""
        objects = self.render("node-setup-mixed")
        for end, client in (("-containerd", "containerd"), ("-k3s", "k3s"), ("-crio", "crio")):
            self.assertIn(f"--ca-file={CA}/{client}-ca.crt", arguments(objects, end))
            spec = pod(objects, end)
            volumes = {each["name"]: each for each in spec["volumes"]}
            self.assertEqual("existing-authority", volumes["ca"]["configMap"]["name"])
            (setup,) = spec["initContainers"]
            self.assertIn(f"/host{CA}/{client}-ca.crt", setup["command"][2])
            mounts = {each["mountPath"]: each for each in setup["volumeMounts"]}
            self.assertIs(True, mounts[CA]["readOnly"])
            self.assertIn(f"/host{CA}", mounts)
            self.assertEqual(client == "crio", "/host/etc/containers/certs.d" in mounts)

    def test_none(self) -> None:
        """Without one nothing is mounted, and the notes say that nodes must trust an https cache."""
        objects = self.render("http-route", nodeSetup__enabled=True)
        self.assertNotIn("ca-file", str(arguments(objects)))
        self.assertEqual(["client", "record"], [each["name"] for each in pod(objects)["volumes"]])
        trust = "every node must trust"
        self.assertIn(trust, notes("http-route", nodeSetup__enabled=True))
        self.assertNotIn(trust, notes(nodeSetup__enabled=True))
        self.assertNotIn(trust, notes("node-setup-mixed"))

    def test_plain(self) -> None:
        """One for a cache without TLS is refused."""
        said = self.refused(nodeSetup__enabled=True, nodeSetup__ca__existingConfigMap="existing-ca")
        self.assertIn("nodeSetup.ca requires a cache that nodes reach by https", said)


class Said(ChartTestCase):
    """The notes."""

    def test_registries(self) -> None:
        """They list the registries that nodes ask the cache for, and say if there are no others."""
        said = notes("node-setup-mixed")
        self.assertIn(
            "-containerd configures containerd on its nodes. registries: docker.io, quay.io, and all others",
            said,
        )
        self.assertIn(
            "configures crio on its nodes. registries: docker.io, quay.io Images of all other", said
        )

    def test_unknown_registries(self) -> None:
        """They say that the chart does not know what is in a Secret."""
        values = {"nodeSetup__enabled": True, "nodeSetup__runtime": "crio"}
        hidden = {"registry__upstream__config__existingSecret": "upstreams"}
        said = "The chart does not know those in the Secret upstreams"
        self.assertIn(said, notes(**values, **hidden))
        self.assertNotIn(said, notes(**values, **hidden, nodeSetup__namespaces=["quay.io"]))
        self.assertNotIn(said, notes(**values))

    def test_after_the_end(self) -> None:
        """They say whether files stay on nodes when the release is uninstalled."""
        values = {"nodeSetup__enabled": True}
        self.assertIn("is restored when you uninstall", notes(**values))
        self.assertIn("files stay when you uninstall", notes(**values, nodeSetup__runtime="k3s"))

    def test_no_test(self) -> None:
        """They name no test where there is none."""
        self.assertIn("helm test", notes())
        self.assertNotIn("helm test", notes(service__enabled=False))

    def test_policy(self) -> None:
        """They say who is let in if nobody is named, and that ports in Secrets are not known."""
        values = {"networkPolicy__enabled": True}
        hidden = {"registry__upstream__config__existingSecret": "upstreams"}
        self.assertIn("ingressFrom is empty: everybody", notes(**values))
        self.assertNotIn("ingressFrom is empty", notes("tls"))
        said = "add others to networkPolicy.egress.ports: 443 80"
        self.assertIn(said, notes(**values, **hidden))
        self.assertNotIn(said, notes(**values))
        self.assertIn("metadata service", notes(**values, registry__storage__mode="s3"))
