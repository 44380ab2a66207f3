"""What an API server demands of names, labels and ports."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tools.chart.objects import Objects, kind, name, of_kind, place, pods

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT = re.compile(r"(?!.*--)(?=.*[a-z])[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# A pod's label has eleven characters behind its StatefulSet's name; a Pod's name is its host's.
_LONGEST = {"StatefulSet": 52, "Service": 63, "Pod": 63}


def object_names(documents: Objects) -> Iterator[str]:
    """Names are valid, short enough for all that is made of them, and unique in their kind."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for document in documents:
        pattern = _SERVICE if kind(document) == "Service" else _SUBDOMAIN
        if not pattern.fullmatch(name(document)):
            yield f"{place(document)}: the name is not valid"
        longest = _LONGEST.get(kind(document), 253)
        if len(name(document)) > longest:
            yield f"{place(document)}: the name is longer than {longest} characters"
        namespace = document["metadata"].get("namespace")
        if not namespace:
            yield f"{place(document)}: no namespace"
        seen[kind(document), str(namespace), name(document)] += 1
    for (what, _, called), times in seen.items():
        if times > 1:
            yield f"{what} {called}: there are {times} of that name"


def _key_problem(key: str) -> str | None:
    prefix, slash, last = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        return "the part before the slash is no domain"
    if len(last) > 63 or not _KEY.fullmatch(last):
        return "is no valid name"
    return None


def labels(documents: Objects) -> Iterator[str]:
    """Keys and values of labels, and keys of annotations, are valid."""
    places: list[tuple[str, dict[str, Any]]] = [
        (place(document), document["metadata"]) for document in documents
    ]
    places += [(f"{place(pod.owner)}, pods", dict(pod.metadata)) for pod in pods(documents)]
    for where, metadata in places:
        for key in {**metadata.get("labels", {}), **metadata.get("annotations", {})}:
            if problem := _key_problem(key):
                yield f"{where}: {key!r} {problem}"
        for key, value in metadata.get("labels", {}).items():
            if value and (len(value) > 63 or not _KEY.fullmatch(value)):
                yield f"{where}: the label {key} has the value {value!r}"


def port_names(documents: Objects) -> Iterator[str]:
    """Names of ports have at most 15 characters, with a letter in them, and are unique in a pod."""
    for pod in pods(documents):
        names = [
            port["name"]
            for container in pod.containers
            for port in container.get("ports", ())
            if "name" in port
        ]
        for port in names:
            if len(port) > 15 or not _PORT.fullmatch(port):
                yield f"{place(pod.owner)}: {port!r} is no name for a port"
        if len(names) != len(set(names)):
            yield f"{place(pod.owner)}: two ports have one name"
        called = [each["name"] for each in (*pod.containers, *pod.spec.get("volumes", ()))]
        for each in called:
            if len(each) > 63 or not _LABEL.fullmatch(each):
                yield f"{place(pod.owner)}: {each!r} is no name for a container or a volume"
    for service in of_kind(documents, "Service"):
        ports = service["spec"]["ports"]
        if len(ports) > 1 and not all("name" in port for port in ports):
            yield f"{place(service)}: several ports need names"
        for port in ports:
            if len(port.get("name", "")) > 63:
                yield f"{place(service)}: the name of a port is too long"
