"""The clients that can be set up, by the names the command knows them under."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from oci_registry.setup import containerd, containers, docker, k3s
from oci_registry.setup.nouns import Generator

CLIENTS: Mapping[str, Generator] = MappingProxyType(
    {
        "containerd": containerd.configure,
        "crio": containers.crio,
        "docker": docker.configure,
        "k3s": k3s.k3s,
        "podman": containers.podman,
        "rke2": k3s.rke2,
    }
)
