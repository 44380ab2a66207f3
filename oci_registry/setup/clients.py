"""The clients that setup supports, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from oci_registry.setup import buildkit, ci, containerd, containers, docker, k3s, talos
from oci_registry.setup.nouns import Generator

CLIENTS: Mapping[str, Generator] = MappingProxyType(
    {
        "buildkit": buildkit.configure,
        "containerd": containerd.configure,
        "crio": containers.crio,
        "dind": ci.dind,
        "docker": docker.configure,
        "gitlab": ci.gitlab,
        "k3s": k3s.k3s,
        "kaniko": ci.kaniko,
        "podman": containers.podman,
        "rke2": k3s.rke2,
        "talos": talos.configure,
    }
)

#: Clients that can be configured to ask the mirror for every registry.
EVERY = frozenset({"containerd", "k3s", "rke2", "talos"})
