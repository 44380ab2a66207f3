"""What an API server would refuse in rendered objects, schemas aside, and what we refuse ourselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from tools.chart import names, relations, security, workloads
from tools.chart.objects import Objects, kind, place

Rule = Callable[[Objects], Iterator[str]]

MARK = "secret-of-"
"""How secrets in sets of values begin."""

RULES: tuple[Rule, ...] = (
    names.object_names,
    names.labels,
    names.port_names,
    security.restricted,
    workloads.resources,
    workloads.volumes,
    workloads.environment,
    workloads.ending,
    workloads.strategies,
    workloads.scaling,
    relations.selectors,
    relations.service_ports,
    relations.ways_in,
    relations.service_types,
    relations.budgets,
    relations.references,
)


def problems(documents: Objects) -> list[str]:
    """Return a sentence for each thing that is wrong."""
    return [problem for rule in RULES for problem in rule(documents)]


def exposed(documents: Objects) -> list[str]:
    """Return a sentence for each object but a Secret that holds what is marked as one."""
    return [
        f"{place(document)}: holds a secret"
        for document in documents
        if kind(document) != "Secret" and MARK in json.dumps(document)
    ]
