"""Talos: the mirrors in the configuration of a machine, which is patched from elsewhere."""

from __future__ import annotations

import yaml

from oci_registry.setup.nouns import Configuration, Wanted


def configure(wanted: Wanted) -> Configuration:
    """A patch of the machine configuration, with a mirror for each registry."""
    if not wanted.registries:
        return Configuration()
    only = {} if wanted.fallback else {"skipFallback": True}
    mirrors = {
        registry.name: {"endpoints": [wanted.mirror.url], **only} for registry in wanted.registries
    }
    patch = {"machine": {"registries": {"mirrors": mirrors}}}
    return Configuration(
        snippets={"patch of the Talos machine configuration": yaml.safe_dump(patch)},
        notes=("apply it with talosctl patch machineconfig --patch @FILE; no reboot is needed",),
    )
