"""The storage drivers by name, each imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from oci_registry.storage.interfaces import IDriver

_DRIVERS = {
    "memory": "oci_registry.storage.drivers.memory:MemoryDriver",
    "filesystem": "oci_registry.storage.drivers.filesystem:FilesystemDriver",
    "s3": "oci_registry.storage.drivers.s3.driver:S3Driver",
}


def driver_class(name: str) -> Callable[..., IDriver]:
    """Return the class of the driver with this *name*; KeyError if there is none."""
    module, _, attribute = _DRIVERS[name].partition(":")
    return cast("Callable[..., IDriver]", getattr(import_module(module), attribute))
