"""Rendered objects of Kubernetes, and the pods in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

Object = Mapping[str, Any]
Objects = Sequence[Object]

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")


@frozen
class Pod:
    """The metadata and the spec of a pod, and the object that it comes from."""

    owner: Object
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that selectors look at."""
        labels: Mapping[str, str] = self.metadata.get("labels") or {}
        return labels

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """All containers, those that run first among them."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def kind(document: Object) -> str:
    """Return what an object is."""
    return str(document["kind"])


def name(document: Object) -> str:
    """Return how an object is called."""
    return str(document["metadata"]["name"])


def place(document: Object) -> str:
    """Return the words for an object in a message."""
    return f"{kind(document)} {name(document)}"


def pods(documents: Objects) -> Iterator[Pod]:
    """Give the pods of all workloads, and those that stand alone."""
    for document in documents:
        if kind(document) == "Pod":
            yield Pod(document, document["metadata"], document["spec"])
        elif kind(document) in WORKLOADS:
            template = document["spec"]["template"]
            yield Pod(document, template["metadata"], template["spec"])


def for_nodes(document: Object) -> bool:
    """Whether an object is of the workloads that configure nodes, and not of the cache."""
    return name(document).endswith("-node-setup") or "-node-setup-" in name(document)


def of_kind(documents: Objects, *kinds: str) -> Iterator[Object]:
    """Give the objects of some kinds."""
    for document in documents:
        if kind(document) in kinds:
            yield document
