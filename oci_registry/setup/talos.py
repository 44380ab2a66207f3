"""Talos: the mirrors in a machine configuration, as a patch."""

from __future__ import annotations

import base64

import yaml

from oci_registry.setup.nouns import Configuration, Wanted

_EVERY = "*"


def configure(wanted: Wanted) -> Configuration:
    """Return a patch of the machine configuration, with a mirror for each registry and its authority."""
    names = [registry.name for registry in wanted.registries]
    if wanted.every and wanted.others:
        names.append(_EVERY)
    if not names:
        return Configuration()
    only = {} if wanted.fallback else {"skipFallback": True}
    mirrors = {name: {"endpoints": [wanted.mirror.url], **only} for name in names}
    registries: dict[str, object] = {"mirrors": mirrors}
    if wanted.authority is not None:
        certificate = base64.b64encode(wanted.authority.text.encode()).decode()
        registries["config"] = {wanted.mirror.host: {"tls": {"ca": certificate}}}
    patch = {"machine": {"registries": registries}}
    return Configuration(
        snippets={"patch of the Talos machine configuration": yaml.safe_dump(patch)},
        notes=("apply it with talosctl patch machineconfig --patch @FILE; no reboot is needed",),
    )
