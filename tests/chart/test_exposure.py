"""What of the chart can be reached, and how: addresses, ports, Services, TLS, and proxies in front."""

from __future__ import annotations

from typing import Any

from tests.chart.support import ChartTestCase, container, variables, workload

Objects = dict[str, dict[str, Any]]
NAME = "test-oci-registry"


def ports(objects: Objects) -> dict[str, dict[str, Any]]:
    """Return the ports of the daemon's container by name."""
    return {port["name"]: port for port in container(objects)["ports"]}


def spec(objects: Objects) -> dict[str, Any]:
    """Return the spec of the daemon's pods."""
    found: dict[str, Any] = workload(objects)["spec"]["template"]["spec"]
    return found


class Nodes(ChartTestCase):
    """A DaemonSet."""

    def test_for_the_node_alone(self) -> None:
        """It listens at 127.0.0.1 of the node, for metrics too, and no Service leads there."""
        objects = self.render("daemonset")
        self.assertIs(True, spec(objects)["hostNetwork"])
        self.assertEqual("127.0.0.1:5000", variables(objects)["LISTEN"])
        self.assertEqual("127.0.0.1:9090", variables(objects)["ADMIN_LISTEN"])
        self.assertEqual([], [each for each in objects if each.startswith("Service/")])
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual("127.0.0.1", container(objects)[probe]["httpGet"]["host"])
        self.assertEqual("ClusterFirstWithHostNet", spec(objects)["dnsPolicy"])

    def test_test(self) -> None:
        """The test of the release asks the node that it runs on."""
        pod = self.render("daemonset")[f"Pod/{NAME}-test"]["spec"]
        self.assertIs(True, pod["hostNetwork"])
        self.assertEqual("http://127.0.0.1:5000/v2/", pod["containers"][0]["command"][-1])

    def test_every_address(self) -> None:
        """At every address of the node it is probed by its own, and a Service may lead there."""
        objects = self.render("daemonset", daemonSet__hostIP="", service__enabled=True)
        self.assertEqual("0.0.0.0:5000", variables(objects)["LISTEN"])
        self.assertNotIn("host", container(objects)["readinessProbe"]["httpGet"])
        self.assertIn(f"Service/{NAME}", objects)

    def test_own_network(self) -> None:
        """Without the node's network a port of the node is forwarded, and there is a Service."""
        objects = self.render("daemonset", daemonSet__hostNetwork=False)
        self.assertNotIn("hostNetwork", spec(objects))
        self.assertEqual("0.0.0.0:8080", variables(objects)["LISTEN"])
        port = ports(objects)["http"]
        self.assertEqual(
            (8080, 5000, "127.0.0.1"), (port["containerPort"], port["hostPort"], port["hostIP"])
        )
        self.assertIn(f"Service/{NAME}", objects)

    def test_every_node(self) -> None:
        """By default it is on every node and stays there; what is set for all kinds wins."""
        pod = spec(self.render("daemonset"))
        self.assertEqual([{"operator": "Exists"}], pod["tolerations"])
        self.assertEqual("system-node-critical", pod["priorityClassName"])
        pod = spec(self.render("daemonset-s3"))
        self.assertEqual("node-role.kubernetes.io/control-plane", pod["tolerations"][0]["key"])
        self.assertEqual("system-cluster-critical", pod["priorityClassName"])
        self.assertFalse({"tolerations", "priorityClassName"} & set(spec(self.render())))

    def test_refused(self) -> None:
        """What cannot be together on a node is refused."""
        node = {"kind": "DaemonSet"}
        for values, piece in (
            ({**node, "daemonSet__hostPort": None}, "requires daemonSet.hostPort"),
            ({**node, "daemonSet__hostPort": 80}, "1024 or above"),
            ({**node, "networkPolicy__enabled": True}, "has no effect"),
            ({**node, "service__enabled": True}, "a Service cannot reach"),
            ({**node, "ingress__enabled": True}, "set service.enabled true"),
            ({"httpRoute__enabled": True, "service__enabled": False}, "set service.enabled true"),
            ({**node, "metrics__serviceMonitor__enabled": True}, "set adminListen.address"),
            ({"adminListen__port": 8080}, "both 8080"),
            ({"adminListen__enabled": False, "adminListen__token__existingSecret": "x"},
             "requires a port for the admin API"),
            ({"adminListen__enabled": False, "service__enabled": False,
              "metrics__serviceMonitor__enabled": True}, "requires a Service"),
        ):  # fmt: skip
            self.assertIn(piece, self.refused(**values))

    def test_limit(self) -> None:
        """An emptyDir has the limit that it is given, and none otherwise."""
        volumes = {each["name"]: each for each in spec(self.render("ephemeral"))["volumes"]}
        self.assertEqual({"sizeLimit": "20Gi"}, volumes["data"]["emptyDir"])
        pod = spec(self.render(persistence__enabled=False))
        volumes = {each["name"]: each for each in pod["volumes"]}
        self.assertEqual({}, volumes["data"]["emptyDir"])


class Metrics(ChartTestCase):
    """The port for metrics."""

    def test_own_port(self) -> None:
        """Metrics have a port and a Service of their own, which Prometheus asks."""
        objects = self.render("monitoring")
        self.assertEqual("0.0.0.0:9090", variables(objects)["ADMIN_LISTEN"])
        service = objects[f"Service/{NAME}-metrics"]
        self.assertEqual([9090], [each["port"] for each in service["spec"]["ports"]])
        self.assertEqual("ClusterIP", service["spec"]["type"])
        (endpoint,) = objects[f"ServiceMonitor/{NAME}"]["spec"]["endpoints"]
        self.assertEqual("admin", endpoint["port"])
        # As in the alerts, whatever the Service is called.
        self.assertEqual(
            {"targetLabel": "job", "replacement": NAME},
            endpoint["relabelings"][0],
        )

    def test_not_for_clients(self) -> None:
        """The Service for clients has no port for metrics, however it is reached."""
        for values in ("default", "load-balancer", "node-port", "ingress"):
            (port,) = self.render(values)[f"Service/{NAME}"]["spec"]["ports"]
            self.assertEqual("http", port["targetPort"], values)

    def test_token(self) -> None:
        """The admin API is there with a token from a Secret, which is a file in the pod."""
        plain = self.render()
        self.assertNotIn("ADMIN_TOKEN_FILE", variables(plain))
        objects = self.render("existing-secrets")
        path = variables(objects)["ADMIN_TOKEN_FILE"]
        mounts = {each["name"]: each for each in container(objects)["volumeMounts"]}
        self.assertEqual(f"{mounts['admin-token']['mountPath']}/token", path)
        volumes = {each["name"]: each for each in spec(objects)["volumes"]}
        secret = volumes["admin-token"]["secret"]
        self.assertEqual("existing-admin-token", secret["secretName"])
        self.assertEqual([{"key": "api", "path": "token"}], secret["items"])
        self.assertNotIn("admin-token", {each["name"] for each in spec(plain)["volumes"]})

    def test_policy(self) -> None:
        """A network policy says who reads them, apart from who pulls."""
        rules = self.render("tls")[f"NetworkPolicy/{NAME}"]["spec"]["ingress"]
        self.assertEqual(
            [["http"], ["admin"]], [[p["port"] for p in rule["ports"]] for rule in rules]
        )
        self.assertEqual(1, len(rules[1]["from"]))
        self.assertIn("namespaceSelector", rules[1]["from"][0])

    def test_one_port(self) -> None:
        """Without a port of their own they are asked for where clients ask."""
        objects = self.render("tls-one-port")
        self.assertNotIn("ADMIN_LISTEN", variables(objects))
        self.assertNotIn(f"Service/{NAME}-metrics", objects)
        (endpoint,) = objects[f"ServiceMonitor/{NAME}"]["spec"]["endpoints"]
        self.assertEqual(("http", "https"), (endpoint["port"], endpoint["scheme"]))
        self.assertEqual(1, len(objects[f"NetworkPolicy/{NAME}"]["spec"]["ingress"]))


class InFront(ChartTestCase):
    """TLS, Ingress and HTTPRoute."""

    def test_only_pulls(self) -> None:
        """An Ingress and an HTTPRoute pass on /v2/ and nothing else, and no value changes that."""
        rules = self.render("ingress")[f"Ingress/{NAME}"]["spec"]["rules"]
        self.assertTrue(rules)
        for rule in rules:
            self.assertEqual(["/v2/"], [path["path"] for path in rule["http"]["paths"]])
        route = self.render("http-route")[f"HTTPRoute/{NAME}"]["spec"]
        (rule,) = route["rules"]
        self.assertEqual([{"path": {"type": "PathPrefix", "value": "/v2"}}], rule["matches"])
        self.assertEqual({"request": "0s"}, rule["timeouts"])
        self.assertEqual(["images.example.com"], route["hostnames"])
        for path in ("/", "/metrics", "/v2metrics"):
            said = self.refused("ingress", ingress__path=path)
            self.assertIn("specifications of the schema", said)
        self.render("ingress", ingress__path="/v2/*")

    def test_certificate_that_is_asked_for(self) -> None:
        """An annotation that asks for a certificate makes a section for TLS, if there is none."""
        made = [{"secretName": f"{NAME}-tls", "hosts": ["images.example.com"]}]
        ingress = self.render("ingress-acme")[f"Ingress/{NAME}"]["spec"]
        self.assertEqual(made, ingress["tls"])
        for asking, expected in (
            ({"cert-manager.io/cluster-issuer": "letsencrypt"}, made),
            ({"cert-manager.io/issuer": "own"}, made),
            ({"kubernetes.io/tls-acme": "false"}, None),
        ):
            values = {"annotations": asking, "hosts": ["images.example.com"], "enabled": True}
            ingress = self.render(ingress=values)[f"Ingress/{NAME}"]["spec"]
            self.assertEqual(expected, ingress.get("tls"))
        tls = [{"secretName": "own", "hosts": ["images.example.com"]}]
        ingress = self.render("ingress-acme", ingress__tls=tls)[f"Ingress/{NAME}"]["spec"]
        self.assertEqual(tls, ingress["tls"])

    def test_tls_in_the_pod(self) -> None:
        """With a certificate probes, the Service and the test speak https."""
        objects = self.render("tls")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual("HTTPS", container(objects)[probe]["httpGet"]["scheme"])
        (port,) = objects[f"Service/{NAME}"]["spec"]["ports"]
        self.assertEqual("https", port["appProtocol"])
        command = objects[f"Pod/{NAME}-test"]["spec"]["containers"][0]["command"]
        self.assertEqual(f"https://{NAME}:443/v2/", command[-1])

    def test_own_probe(self) -> None:
        """A probe of the reader's own stays as it is."""
        probe = {"exec": {"command": ["true"]}}
        objects = self.render("tls", readinessProbe={**probe, "httpGet": None})
        self.assertEqual(probe, {"exec": container(objects)["readinessProbe"]["exec"]})


class Others(ChartTestCase):
    """What can be added."""

    def test_service(self) -> None:
        """There need be no Service, and then no test asks it; traffic may stay near."""
        objects = self.render(service__enabled=False)
        self.assertNotIn(f"Service/{NAME}", objects)
        self.assertNotIn(f"Pod/{NAME}-test", objects)
        service = self.render("tls")[f"Service/{NAME}"]["spec"]
        self.assertEqual("PreferSameZone", service["trafficDistribution"])

    def test_claims(self) -> None:
        """Claims of a StatefulSet are kept unless the values say otherwise."""
        for values, kept in (({"kind": "StatefulSet"}, "Retain"), ({"sets": "x"}, "Delete")):
            objects = self.render("statefulset") if "sets" in values else self.render(**values)
            policy = workload(objects)["spec"]["persistentVolumeClaimRetentionPolicy"]
            self.assertEqual({"whenDeleted": kept, "whenScaled": kept}, policy)
        self.assertNotIn("persistentVolumeClaimRetentionPolicy", workload(self.render())["spec"])

    def test_annotations(self) -> None:
        """The workload has annotations of its own, apart from the pods'."""
        annotations = workload(self.render("tls"))["metadata"]["annotations"]
        self.assertEqual({"reloader.stakater.com/auto": "true"}, annotations)

    def test_objects(self) -> None:
        """Objects are added as they are, or as text, with what stands in braces filled in."""
        objects = self.render("http-route")
        self.assertEqual("images", objects[f"ConfigMap/{NAME}-note"]["metadata"]["namespace"])
        self.assertEqual({"kind": "Deployment"}, objects[f"ConfigMap/{NAME}-another"]["data"])
