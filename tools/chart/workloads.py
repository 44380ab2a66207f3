"""What an API server, or somebody who waits for a roll-out, demands of workloads and their pods."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from tools.chart.objects import WORKLOADS, Objects, Pod, kind, of_kind, place, pods

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{each: Decimal(1000) ** power for power, each in enumerate("kMGTPE", 1)},
    **{f"{each}i": Decimal(1024) ** power for power, each in enumerate("KMGTPE", 1)},
}
# The variable with the URL of a Service, in a script.
_LINK = re.compile(r"\$\{[A-Z0-9_]+_PORT[#}]")
_PATH = re.compile(r"/[^:]*")


def quantity(text: object) -> Decimal:
    """Return the number that a quantity stands for; ValueError if it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)(Ki|[numk]|[MGTPE]i?)?", str(text))
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    return Decimal(match[1]) * _SUFFIXES[match[2] or ""]


def resources(documents: Objects) -> Iterator[str]:
    """No container asks for more than its limit."""
    for pod in pods(documents):
        for container in pod.containers:
            given = container.get("resources", {})
            for what, limit in given.get("limits", {}).items():
                asked = given.get("requests", {}).get(what, limit)
                if quantity(asked) > quantity(limit):
                    yield f"{place(pod.owner)}: asks for {asked} of {what}, limited to {limit}"


def volumes(documents: Objects) -> Iterator[str]:
    """What is mounted is there, at a place of its own, and what is there is mounted."""
    for pod in pods(documents):
        names = [volume["name"] for volume in pod.spec.get("volumes", ())]
        if kind(pod.owner) == "StatefulSet":
            claims = pod.owner["spec"].get("volumeClaimTemplates", ())
            names += [claim["metadata"]["name"] for claim in claims]
        where = place(pod.owner)
        if len(names) != len(set(names)):
            yield f"{where}: two volumes have one name"
        mounted = set()
        for container in pod.containers:
            mounts = container.get("volumeMounts", ())
            mounted |= {mount["name"] for mount in mounts}
            for path, times in Counter(mount["mountPath"] for mount in mounts).items():
                if times > 1 or not _PATH.fullmatch(path):
                    yield f"{where}: {path} is mounted {times} times, or is no path"
        for name in sorted(mounted ^ set(names)):
            yield f"{where}: the volume {name} is {'not there' if name in mounted else 'not used'}"


def environment(documents: Objects) -> Iterator[str]:
    """Variables are set once, to a value or from somewhere, and services' come in where they are read."""
    for pod in pods(documents):
        read = any(_LINK.search(" ".join(each.get("command", ()))) for each in pod.containers)
        if pod.spec.get("enableServiceLinks") is not read:
            yield f"{place(pod.owner)}: the variables of services are set, or missing"
        for container in pod.containers:
            variables = container.get("env", ())
            for name, times in Counter(each["name"] for each in variables).items():
                if times > 1:
                    yield f"{place(pod.owner)}: {name} is set {times} times"
            for each in variables:
                if ("value" in each) == ("valueFrom" in each):
                    yield f"{place(pod.owner)}: {each['name']} has no value, or two"


def _seconds(variables: Mapping[str, Any]) -> int:
    match = re.fullmatch(r"(\d+)s", str(variables.get("SHUTDOWN_GRACE", "0s")))
    assert match is not None, "the chart gives seconds"
    return int(match[1])


def ending(documents: Objects) -> Iterator[str]:
    """A pod that is stopped has the time that it was promised."""
    for pod in pods(documents):
        for container in pod.spec["containers"]:
            sleep = (
                container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            )
            variables = {each["name"]: each.get("value") for each in container.get("env", ())}
            needed = sleep + _seconds(variables)
            given = pod.spec.get("terminationGracePeriodSeconds", 30)
            if needed and given <= needed:
                yield f"{place(pod.owner)}: {given} s to stop, and {needed} s are promised"


def strategies(documents: Objects) -> Iterator[str]:
    """A roll-out can get on: no step of it waits for what it holds itself."""
    claims = {
        claim["metadata"]["name"]: claim["spec"]["accessModes"]
        for claim in of_kind(documents, "PersistentVolumeClaim")
    }
    for pod in pods(documents):
        spec = pod.owner["spec"]
        strategy = spec.get("strategy") or spec.get("updateStrategy") or {}
        rolling = strategy.get("rollingUpdate") or {}
        if {rolling.get("maxSurge"), rolling.get("maxUnavailable")} <= {0, "0%"} and len(
            rolling
        ) > 1:
            yield f"{place(pod.owner)}: neither one more nor one less is allowed"
        if kind(pod.owner) == "DaemonSet" and _host_ports(pod) and rolling.get("maxSurge"):
            yield f"{place(pod.owner)}: two pods of a node would share a port of it"
        if kind(pod.owner) == "Deployment":
            yield from _sharing(pod, claims, strategy)


def _host_ports(pod: Pod) -> bool:
    return any(
        port.get("hostPort") for container in pod.containers for port in container.get("ports", ())
    )


def _sharing(
    pod: Pod, claims: Mapping[str, list[str]], strategy: Mapping[str, Any]
) -> Iterator[str]:
    for volume in pod.spec.get("volumes", ()):
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim in claims and "ReadWriteMany" not in claims[claim]:
            if strategy.get("type") != "Recreate":
                yield f"{place(pod.owner)}: a new pod waits for the volume of the old one"
            if pod.owner["spec"].get("replicas", 2) > 1:
                yield f"{place(pod.owner)}: several replicas want one volume"


def scaling(documents: Objects) -> Iterator[str]:
    """Who is scaled does not say how many it is, asks for what it is scaled by, and is there."""
    workloads = {place(each): each for each in of_kind(documents, *WORKLOADS)}
    for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        target = workloads.get(f"{spec['scaleTargetRef']['kind']} {spec['scaleTargetRef']['name']}")
        if target is None or kind(target) == "DaemonSet":
            yield f"{place(scaler)}: what it scales cannot be scaled, or is not there"
            continue
        if "replicas" in target["spec"]:
            yield f"{place(target)}: each upgrade would undo what was scaled"
        if not 1 <= spec["minReplicas"] <= spec["maxReplicas"]:
            yield f"{place(scaler)}: from {spec['minReplicas']} to {spec['maxReplicas']}"
        if not spec["metrics"]:
            yield f"{place(scaler)}: nothing to scale by"
        asked = [
            container.get("resources", {}).get("requests", {})
            for container in target["spec"]["template"]["spec"]["containers"]
        ]
        for metric in spec["metrics"]:
            what = metric["resource"]["name"]
            if not all(what in each for each in asked):
                yield f"{place(scaler)}: a share of {what}, of which nothing is asked for"
