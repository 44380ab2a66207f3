"""Whether objects are what Kubernetes and its custom resources define, by kubeconform."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tools import kube_schemas
from tools.chart.gotools import (
    GATEWAY_API,
    KUBECONFORM,
    KUBERNETES,
    PROMETHEUS_OPERATOR,
    cached,
    module,
    program,
)

_ROUTES = "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"
_RESOURCES = "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml"


def schemas() -> Path:
    """Return the directory with all schemas, which are made if need be."""
    directory = cached(f"schemas-{KUBERNETES}-{GATEWAY_API}-{PROMETHEUS_OPERATOR}")
    done = directory / "done"
    if not done.exists():
        source = module(KUBERNETES) / "api" / "openapi-spec" / "swagger.json"
        swagger = json.loads(source.read_text("utf-8"))
        kube_schemas.write(directory, kube_schemas.from_swagger(swagger))
        operator = module(PROMETHEUS_OPERATOR)
        for path in (
            operator / _RESOURCES.format("servicemonitors"),
            operator / _RESOURCES.format("prometheusrules"),
            module(GATEWAY_API) / _ROUTES,
        ):
            documents = kube_schemas.read_documents(path.read_text("utf-8"))
            kube_schemas.write(directory, kube_schemas.from_resources(documents, swagger))
        done.touch()
    return directory


def check(rendered: str) -> tuple[int, list[str]]:
    """Return how many objects are right, and a sentence for each that is not."""
    command = [str(program(KUBECONFORM)), "-strict", "-output=json", "-summary", "-verbose"]
    command.append(f"-schema-location={schemas()}/{kube_schemas.LOCATION}")
    done = subprocess.run(  # noqa: S603
        command,
        input=rendered,
        check=False,
        capture_output=True,
        text=True,
    )
    if not done.stdout:
        return 0, [f"kubeconform: {done.stderr.strip()}"]
    answer = json.loads(done.stdout)
    right, wrong = 0, []
    for resource in answer["resources"] or ():
        if resource["status"] == "statusValid":
            right += 1
        elif resource["status"]:
            # What was skipped was not checked; only a document with nothing in it has no status.
            wrong.append(
                f"{resource['kind']} {resource['name']}: {resource['msg'] or resource['status']}"
            )
    return right, wrong
