"""Rules for objects that name each other."""

from __future__ import annotations

from copy import deepcopy

from tests.unit.tools.release import STABLE, ReleaseTestCase


class Selectors(ReleaseTestCase):
    """Which objects select pods."""

    def test_labels_that_change(self) -> None:
        """A workload does not select by what an upgrade changes."""
        self.spec["selector"]["matchLabels"]["version"] = "1"
        self.spec["template"]["metadata"]["labels"]["version"] = "1"
        self.found("Deployment cache: selects by")

    def test_nobody(self) -> None:
        """What selects no pod is noticed, wherever it stands."""
        wrong = {**STABLE, "app.kubernetes.io/instance": "two"}
        self.service["spec"]["selector"] = wrong
        self.add("PodDisruptionBudget", maxUnavailable=1, selector={"matchLabels": wrong})
        self.add("NetworkPolicy", podSelector={"matchLabels": wrong})
        self.found(
            "Service cache: does not select",
            "PodDisruptionBudget cache: does not select",
            "NetworkPolicy cache: does not select",
        )

    def test_nodes(self) -> None:
        """What configures the nodes selects its own pods, and the cache's Service does not."""
        nodes = deepcopy(self.deployment)
        nodes["kind"] = "DaemonSet"
        nodes["metadata"]["name"] = "cache-node-setup"
        del nodes["spec"]["replicas"], nodes["spec"]["strategy"]
        labels = {**STABLE, "app.kubernetes.io/name": "nodes"}
        nodes["spec"]["selector"]["matchLabels"] = labels
        nodes["spec"]["template"]["metadata"]["labels"] = labels
        self.documents.append(nodes)
        self.found()
        self.add("NetworkPolicy", podSelector={"matchLabels": labels})
        self.found("NetworkPolicy cache: does not", "NetworkPolicy cache: selects other")
        self.documents[-1]["metadata"]["name"] = "cache-node-setup"
        self.found()
        nodes["spec"]["selector"]["matchLabels"] = STABLE
        self.found(
            "DaemonSet cache-node-setup: does not", "DaemonSet cache-node-setup: selects other"
        )

    def test_everybody(self) -> None:
        """A pod that is no cache is not selected."""
        test = deepcopy(self.deployment)
        test["kind"] = "Pod"
        test["metadata"]["labels"]["other"] = "yes"
        test["spec"] = test["spec"]["template"]["spec"]
        self.documents.append(test)
        self.found("Deployment cache: selects other", "Service cache: selects other")

    def test_topology(self) -> None:
        """A constraint on the topology is about the cache's pods."""
        self.pod["topologySpreadConstraints"] = [{}]
        self.found("is about no pods")
        self.pod["topologySpreadConstraints"] = [{"labelSelector": {"matchLabels": {"a": "b"}}}]
        self.found("selects by ['a']", "does not select")


class Ports(ReleaseTestCase):
    """Which objects refer to a port by its name."""

    def test_service(self) -> None:
        """A Service leads to a port of the pods."""
        self.service["spec"]["ports"][0]["targetPort"] = "web"
        self.found("the pods have no port web")

    def test_ingress(self) -> None:
        """An Ingress leads to a port of a Service."""
        backend = {"service": {"name": "cache", "port": {"name": "http"}}}
        paths = [{"path": "/", "backend": backend}]
        self.add("Ingress", rules=[{"http": {"paths": paths}}])
        self.found()
        backend["service"]["port"] = {"name": "web"}
        self.found("nothing behind /")

    def test_route(self) -> None:
        """A route leads to a port of a Service."""
        backend = {"name": "cache", "port": 80}
        self.add("HTTPRoute", rules=[{"backendRefs": [backend]}])
        self.found()
        backend["port"] = 81
        self.found("nothing behind port 81")
        backend["name"] = "other"
        self.found("nothing behind port 81")

    def test_monitor(self) -> None:
        """A monitor finds each pod once, by one Service."""
        self.add(
            "ServiceMonitor",
            selector={"matchLabels": dict(STABLE)},
            namespaceSelector={"matchNames": ["images"]},
            endpoints=[{"port": "http"}],
        )
        self.found()
        self.documents.append({**deepcopy(self.service)})
        self.documents[-1]["metadata"]["name"] = "headless"
        self.found("each pod would be asked 2 times")

    def test_policy(self) -> None:
        """A policy opens a port that is there."""
        ports = [{"port": "web"}, {"port": 80}]
        self.add("NetworkPolicy", podSelector={"matchLabels": STABLE}, ingress=[{"ports": ports}])
        self.found("the pods have no port web")


class Services(ReleaseTestCase):
    """What goes with the type of a Service."""

    def test_load_balancer(self) -> None:
        """What is for a load balancer needs one."""
        self.service["spec"]["loadBalancerClass"] = "a/b"
        self.found("loadBalancerClass without a load balancer")

    def test_outside(self) -> None:
        """What is for traffic from outside needs some."""
        self.service["spec"]["externalTrafficPolicy"] = "Local"
        self.service["spec"]["ports"][0]["nodePort"] = 30000
        self.found("without traffic from outside", "the port 30000 of nodes")
        self.service["spec"]["type"] = "NodePort"
        self.found()

    def test_node_ports(self) -> None:
        """Nodes have a range for such ports."""
        self.service["spec"]["type"] = "NodePort"
        self.service["spec"]["ports"][0]["nodePort"] = 5000
        self.found("the port 5000 of nodes")

    def test_headless(self) -> None:
        """What has no address is not reached from outside."""
        self.service["spec"].update(type="NodePort", clusterIP="None")
        self.found("no address")

    def test_source_ranges(self) -> None:
        """Sources are networks."""
        self.service["spec"].update(
            type="LoadBalancer", loadBalancerSourceRanges=["10.0.0.0/8", "x"]
        )
        self.found("'x' is no network")


class References(ReleaseTestCase):
    """What is named."""

    def test_bounds(self) -> None:
        """A budget has one bound, not two, and not none."""
        selector = {"matchLabels": STABLE}
        self.add("PodDisruptionBudget", "two", minAvailable=0, maxUnavailable=1, selector=selector)
        self.add("PodDisruptionBudget", "none", selector=selector)
        self.add("PodDisruptionBudget", "one", minAvailable=0, selector=selector)
        self.found("two: has 2 bounds", "none: has 0 bounds")

    def test_missing(self) -> None:
        """What a pod names is in the release, unless its name says that it was there before."""
        self.pod["serviceAccountName"] = "other"
        self.pod["volumes"] = [
            {"name": "data", "secret": {"secretName": "a"}},
            {"name": "more", "configMap": {"name": "b"}},
        ]
        self.container["volumeMounts"].append({"name": "more", "mountPath": "/more"})
        self.container["env"].append(
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}}
        )
        self.container["envFrom"] = [
            {"configMapRef": {"name": "d"}},
            {"secretRef": {"name": "existing-secret"}},
        ]
        self.found(
            "ServiceAccount other is not there",
            "Secret a is not there",
            "ConfigMap b is not there",
            "Secret c is not there",
            "ConfigMap d is not there",
        )

    def test_names_of_pods(self) -> None:
        """The Service that names a StatefulSet's pods is there."""
        self.deployment["kind"] = "StatefulSet"
        self.spec["serviceName"] = "headless"
        self.found("the Service that names its pods is not there")
