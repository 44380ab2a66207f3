"""podman, buildah, skopeo and CRI-O, which share a configuration: containers-registries.conf(5)."""

from __future__ import annotations

from oci_registry.setup.nouns import Configuration, Mirror, Registry, Unusable, Wanted

PATH = "/etc/containers/registries.conf.d/050-oci-registry.conf"


CERTIFICATES = "/etc/containers/certs.d"


def podman(wanted: Wanted) -> Configuration:
    """Return a drop-in of ``registries.conf`` with a block for each registry, and the certificate.

    The clients put the registry in front of the path when they ask the mirror; a port is not
    allowed there.
    """
    if "[" in wanted.mirror.host:
        # Before containers/image 5.29 a pull fails altogether if a mirror has such an address.
        raise Unusable(
            PATH,
            "cannot contain an IPv6 address, which older clients do not understand: use a host name",
        )
    usable = [registry for registry in wanted.registries if ":" not in registry.name]
    notes = tuple(
        f"{registry.name} is ignored: these clients put the registry into the path of the mirror, "
        "where a port is not allowed"
        for registry in wanted.registries
        if registry not in usable
    )
    block = _block if wanted.fallback else _alone
    blocks = [block(wanted.mirror, registry) for registry in usable]
    if not blocks:
        return Configuration(notes=notes)
    files = {PATH: "\n".join(blocks), **wanted.certificate(CERTIFICATES)}
    return Configuration(files, notes)


def crio(wanted: Wanted) -> Configuration:
    """Return the same as for podman; it is read when CRI-O starts."""
    made = podman(wanted)
    return Configuration(made.files, (*made.notes, "restart CRI-O after a change"))


_INSECURE = "insecure = true\n"


def _alone(mirror: Mirror, registry: Registry) -> str:
    """Return a block that replaces the registry by the mirror, without fallback."""
    return (
        f'[[registry]]\nprefix = "{registry.name}"\nlocation = "{mirror.host}/{registry.name}"\n'
        f"{_INSECURE if mirror.insecure else ''}"
    )


def _block(mirror: Mirror, registry: Registry) -> str:
    return (
        f'[[registry]]\nprefix = "{registry.name}"\nlocation = "{registry.name}"\n'
        f"{_INSECURE if registry.server.startswith('http://') else ''}\n"
        f'[[registry.mirror]]\nlocation = "{mirror.host}/{registry.name}"\n'
        f"{_INSECURE if mirror.insecure else ''}"
    )
