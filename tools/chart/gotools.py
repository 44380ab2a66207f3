"""Programs and modules from Go's module registry, built and kept in the virtual environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HELM = "helm.sh/helm/v4/cmd/helm@v4.3.1"
KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"
KUBERNETES = "k8s.io/kubernetes@v1.37.2"
GATEWAY_API = "sigs.k8s.io/gateway-api@v1.3.0"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"

CACHE = Path(sys.prefix) / "go"
"""One directory for each program and version."""


class NoGo(Exception):
    """There is no Go on this machine."""


def _go() -> str:
    found = shutil.which("go")
    if found is None:
        raise NoGo("go is not installed")
    return found


def cached(package: str) -> Path:
    """Return the directory for what is made of a package of some version."""
    return CACHE / package.replace("/", "_")


def program(package: str) -> Path:
    """Return the path of a program, which is built if need be.

    It takes minutes the first time.  `NoGo` if it would have to be built and cannot be.
    """
    directory = cached(package)
    path = directory / package.partition("@")[0].rpartition("/")[2]
    if not path.exists():
        go = _go()
        print(f"building {package}", flush=True)
        environment = {**os.environ, "GOBIN": str(directory)}
        subprocess.run([go, "install", package], check=True, env=environment)  # noqa: S603
    return path


def module(version: str) -> Path:
    """Return the directory with the source of a module, which is fetched if need be."""
    command = [_go(), "mod", "download", "-json", version]
    got = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return Path(json.loads(got.stdout)["Dir"])
