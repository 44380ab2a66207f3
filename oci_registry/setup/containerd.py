"""containerd: a directory for each registry, and one for all others.

The directories are read as containerd's ``docs/hosts.md`` describes, by CRI, nerdctl and ``ctr``.
"""

from __future__ import annotations

from oci_registry.setup.nouns import Configuration, Wanted

FOLDER = "/etc/containerd/certs.d"

#: What makes containerd look there, by its version.
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


def configure(wanted: Wanted) -> Configuration:
    """A ``hosts.toml`` for each registry, and a default one, without a server of its own."""
    capabilities = 'capabilities = ["pull", "resolve"]\n'
    host = f'[host."{wanted.mirror.url}"]\n  {capabilities}'
    # The server is asked after all hosts, and there must be a host: for no fallback it is the mirror too.
    alone = f'server = "{wanted.mirror.url}"\n{capabilities}\n{host}'
    files = {
        f"{FOLDER}/{registry.name}/hosts.toml": (
            f'server = "{registry.server}"\n\n{host}' if wanted.fallback else alone
        )
        for registry in wanted.registries
    }
    if wanted.others:
        # containerd takes the registry itself for the server that is not set here.
        files[f"{FOLDER}/_default/hosts.toml"] = host if wanted.fallback else alone
    return Configuration(files, (_note(),))


def _note() -> str:
    snippets = "\n".join(
        f"With containerd {version}:\n\n{text}" for version, text in CONFIG_TOML.items()
    )
    return (
        f"/etc/containerd/config.toml must name {FOLDER}, and have no registry.mirrors beside "
        "it; restart containerd after a change there. (Changes below the directory need no "
        f"restart.) {snippets}"
    )
