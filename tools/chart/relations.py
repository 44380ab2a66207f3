"""Whether objects that name each other mean what is there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from tools.chart.objects import (
    WORKLOADS,
    Object,
    Objects,
    Pod,
    for_nodes,
    kind,
    name,
    of_kind,
    place,
    pods,
)

STABLE = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
"""Labels whose values no upgrade changes: a workload's selector cannot be."""
EXISTING = "existing"
"""How names begin that sets of values give to what is not the chart's."""


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector, of labels that must be equal, is about an object."""
    return selector.items() <= labels.items()


def _cache(documents: Objects) -> Pod:
    (found,) = (
        pod for pod in pods(documents) if kind(pod.owner) in WORKLOADS and not for_nodes(pod.owner)
    )
    return found


def _selecting(documents: Objects) -> Iterator[tuple[Object, Mapping[str, Any]]]:
    """Give each object that selects pods, with its selector."""
    for each in documents:
        spec = each.get("spec", {})
        if kind(each) == "Service":
            yield each, spec["selector"]
        elif kind(each) == "NetworkPolicy":
            yield each, spec["podSelector"]["matchLabels"]
        elif kind(each) in (*WORKLOADS, "PodDisruptionBudget"):
            yield each, spec["selector"]["matchLabels"]


def selectors(documents: Objects) -> Iterator[str]:
    """Whoever selects pods selects the cache's and no others, by labels that stay."""
    cache = _cache(documents)
    others = [pod for pod in pods(documents) if pod is not cache and pod.labels != cache.labels]
    selected = [*_selecting(documents)]
    for each in cache.spec.get("topologySpreadConstraints", ()):
        selector = each.get("labelSelector", {})
        if not selector:
            yield f"{place(cache.owner)}: a constraint on the topology is about no pods"
        elif "matchExpressions" not in selector:
            selected.append((cache.owner, selector["matchLabels"]))
    for owner, selector in selected:
        if set(selector) != STABLE:
            yield f"{place(owner)}: selects by {sorted(selector)}"
        own, rest = cache, others
        if for_nodes(owner):
            (own,) = (pod for pod in others if name(pod.owner) == name(owner))
            rest = [cache, *(pod for pod in others if pod is not own)]
        if not matches(selector, own.labels):
            yield f"{place(owner)}: does not select the cache's pods"
        if any(matches(selector, other.labels) for other in rest):
            yield f"{place(owner)}: selects other pods too"


def service_ports(documents: Objects) -> Iterator[str]:
    """Ports that are meant are there: of pods, of Services, of monitors."""
    cache = _cache(documents)
    open_ports = {
        port["name"]
        for container in cache.spec["containers"]
        for port in container.get("ports", ())
    }
    services = {name(service): service for service in of_kind(documents, "Service")}
    for service in services.values():
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            if target not in open_ports:
                yield f"{place(service)}: the pods have no port {target}"
    for monitor in of_kind(documents, "ServiceMonitor"):
        spec = monitor["spec"]
        meant = [
            service
            for service in services.values()
            if matches(spec["selector"]["matchLabels"], service["metadata"]["labels"])
            and service["metadata"]["namespace"] in spec["namespaceSelector"]["matchNames"]
        ]
        if len(meant) != 1 or not _has_port(meant[0], spec["endpoints"][0]["port"]):
            yield f"{place(monitor)}: each pod would be asked {len(meant)} times"
    for policy in of_kind(documents, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", ()):
            for port in rule.get("ports", ()):
                if isinstance(port["port"], str) and port["port"] not in open_ports:
                    yield f"{place(policy)}: the pods have no port {port['port']}"


def ways_in(documents: Objects) -> Iterator[str]:
    """What leads to a Service, an Ingress or a route, leads to a port of it."""
    services = {name(service): service for service in of_kind(documents, "Service")}
    for ingress in of_kind(documents, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                if not _has_port(services.get(backend["name"]), backend["port"]["name"]):
                    yield f"{place(ingress)}: nothing behind {path['path']}"
    for route in of_kind(documents, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                service = services.get(backend["name"])
                there = service["spec"]["ports"] if service else ()
                if backend["port"] not in [port["port"] for port in there]:
                    yield f"{place(route)}: nothing behind port {backend['port']}"


def _has_port(service: Object | None, port: str) -> bool:
    return service is not None and any(
        each.get("name") == port for each in service["spec"]["ports"]
    )


def service_types(documents: Objects) -> Iterator[str]:
    """A Service has only what goes with its type."""
    for service in of_kind(documents, "Service"):
        spec = service["spec"]
        balanced = spec["type"] == "LoadBalancer"
        outside = balanced or spec["type"] == "NodePort"
        for key in ("loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges"):
            if key in spec and not balanced:
                yield f"{place(service)}: {key} without a load balancer"
        if "externalTrafficPolicy" in spec and not outside:
            yield f"{place(service)}: externalTrafficPolicy without traffic from outside"
        for port in spec["ports"]:
            if "nodePort" in port and not (outside and 30000 <= port["nodePort"] <= 32767):
                yield f"{place(service)}: the port {port['nodePort']} of nodes"
        if spec.get("clusterIP") == "None" and spec["type"] != "ClusterIP":
            yield f"{place(service)}: no address, but it is to be reached from outside"
        for each in spec.get("loadBalancerSourceRanges", ()):
            try:
                ipaddress.ip_network(each)
            except ValueError:
                yield f"{place(service)}: {each!r} is no network"


def budgets(documents: Objects) -> Iterator[str]:
    """A budget for disruptions has one bound."""
    for budget in of_kind(documents, "PodDisruptionBudget"):
        bounds = {"minAvailable", "maxUnavailable"} & set(budget["spec"])
        if len(bounds) != 1:
            yield f"{place(budget)}: has {len(bounds)} bounds"


def _references(pod: Pod) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", pod.spec.get("serviceAccountName", "default")
    for volume in pod.spec.get("volumes", ()):
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        for source in volume.get("projected", {}).get("sources", ()):
            if "secret" in source:
                yield "Secret", source["secret"]["name"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in pod.containers:
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {})
            for key, what in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if key in source:
                    yield what, source[key]["name"]
        for source in container.get("envFrom", ()):
            for key, what in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if key in source:
                    yield what, source[key]["name"]


def references(documents: Objects) -> Iterator[str]:
    """What pods name is in the chart, or was there before."""
    there = {(kind(document), name(document)) for document in documents}
    there.add(("ServiceAccount", "default"))
    for pod in pods(documents):
        for what, called in _references(pod):
            if (what, called) not in there and not called.startswith(EXISTING):
                yield f"{place(pod.owner)}: {what} {called} is not there"
    for document in of_kind(documents, "StatefulSet"):
        if ("Service", document["spec"]["serviceName"]) not in there:
            yield f"{place(document)}: the Service that names its pods is not there"
