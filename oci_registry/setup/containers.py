"""podman, buildah, skopeo and CRI-O, which share a configuration: containers-registries.conf(5)."""

from __future__ import annotations

from oci_registry.setup.nouns import Configuration, Mirror, Registry, Wanted

PATH = "/etc/containers/registries.conf.d/050-oci-registry.conf"


def podman(wanted: Wanted) -> Configuration:
    """A file of its own beside ``registries.conf``, with a block for each registry.

    The registry goes in front of the path when they ask the mirror, where a port cannot be.
    """
    usable = [registry for registry in wanted.registries if ":" not in registry.name]
    notes = tuple(
        f"{registry.name} is left out: these clients put it into the path of the mirror, "
        "where no port can be, and would not pull at all"
        for registry in wanted.registries
        if registry not in usable
    )
    blocks = [_block(wanted.mirror, registry) for registry in usable]
    return Configuration({PATH: "\n".join(blocks)} if blocks else {}, notes)


def crio(wanted: Wanted) -> Configuration:
    """As for podman; it is read when CRI-O starts."""
    made = podman(wanted)
    return Configuration(made.files, (*made.notes, "restart CRI-O after a change"))


def _block(mirror: Mirror, registry: Registry) -> str:
    insecure = "insecure = true\n"
    return (
        f'[[registry]]\nprefix = "{registry.name}"\nlocation = "{registry.name}"\n'
        f"{insecure if registry.server.startswith('http://') else ''}\n"
        f'[[registry.mirror]]\nlocation = "{mirror.host}/{registry.name}"\n'
        f"{insecure if mirror.insecure else ''}"
    )
