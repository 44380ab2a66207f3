"""containerd: a directory for each registry, and one for all others.

The directories are read as containerd's ``docs/hosts.md`` describes, by CRI, nerdctl and ``ctr``.
"""

from __future__ import annotations

from oci_registry.setup.hosts_toml import HostsToml, MirrorHost
from oci_registry.setup.merging import quoted
from oci_registry.setup.nouns import Configuration, Unusable, Wanted

FOLDER = "/etc/containerd/certs.d"

#: The configuration that makes containerd read the folder, by its version.
CONFIG_TOML = {
    "1.x": f"""\
version = 2

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{FOLDER}"
""",
    "2.x": f"""\
version = 3

[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{FOLDER}"
""",
}


_DEFAULT = "_default"


def configure(wanted: Wanted) -> Configuration:
    """Return a ``hosts.toml`` for each registry, and a default one, without a server of its own.

    Other content of existing files is kept. Files that cannot be changed do not affect the others.
    """
    servers = {each.name: f"server = {quoted(each.server)}\n\n" for each in wanted.registries}
    if wanted.others:
        # If no server is set here, containerd uses the registry itself.
        servers[_DEFAULT] = ""
    files: dict[str, str] = {}
    notes = list(wanted.reminders)
    unusable: list[Unusable] = []
    for name, server in servers.items():
        path = f"{FOLDER}/{name}/hosts.toml"
        try:
            found = HostsToml.parse(path, wanted.text(path) or "", _mirror(wanted))
            if wanted.fallback:
                files[path] = _first(found, _mirror(wanted), server)
            else:
                files[path] = _alone(found, _mirror(wanted))
                notes += _losses(found, _mirror(wanted))
        except Unusable as error:
            unusable.append(error)
    return Configuration(files, (*notes, _note()), unusable=tuple(unusable))


def _mirror(wanted: Wanted) -> MirrorHost:
    return MirrorHost(wanted.mirror.url, wanted.ca)


def _first(found: HostsToml, mirror: MirrorHost, server: str) -> str:
    """Return a file with the mirror before its other hosts; ``server`` is for an empty file."""
    if not found.document:
        comments = f"{found.text.rstrip()}\n\n" if found.text.strip() else ""
        return f"{comments}{server}{mirror.text}"
    if _alone(found, MirrorHost(mirror.url)) == found.text:
        # Lines that --no-fallback has written.
        return f"{server}{found.trusting(mirror).text}"
    return found.merged(mirror)


def _alone(found: HostsToml, mirror: MirrorHost) -> str:
    """Return a file with the mirror only.

    The server is asked after all hosts, and a file needs a host, so the mirror is both.
    """
    mirror = found.trusting(mirror)
    lines = "".join(f"{line}\n" for line in mirror.lines)
    return f"server = {quoted(mirror.url)}\n{lines}\n{mirror.text}"


def _losses(found: HostsToml, mirror: MirrorHost) -> list[str]:
    """Return a note if a file has settings that are ignored when only the mirror is asked."""
    ours = {"server", "capabilities", "host"}
    if found.document.get("server") == mirror.url:
        ours.add("ca")
    others = set(found.document) - ours
    if not others and set(found.hosts) <= {found.known(mirror)}:
        return []
    return [
        f"{found.path}: without a fallback only the mirror is asked; other settings are in the previous file"
    ]


def _note() -> str:
    snippets = "\n".join(
        f"With containerd {version}:\n\n{text}" for version, text in CONFIG_TOML.items()
    )
    return (
        f"/etc/containerd/config.toml must name {FOLDER}, and have no registry.mirrors beside "
        "it; restart containerd after a change there. (Changes below the directory need no "
        f"restart.) {snippets}"
    )
