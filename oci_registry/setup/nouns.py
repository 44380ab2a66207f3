"""The input and the output of the generators of configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import field, frozen

from oci_registry.config.settings import BUILTIN_UPSTREAMS, UpstreamSettings
from oci_registry.spec.reference import looks_like_host
from oci_registry.spec.urls import Url

# Where clients look for a registry whose name in images is not its host.
_SERVERS = {upstream.namespace: upstream.hosts[0].host for upstream in BUILTIN_UPSTREAMS}

#: The bytes of a file that the client has already, by its absolute path; ``None`` if it has none.
#: `Unusable` if there is something that cannot be read.
Existing = Callable[[str], bytes | None]


class Unusable(Exception):
    """A file cannot be generated, or an existing one cannot be used; ``path`` is that on the client.

    ``reason`` follows the path in messages and contains nothing from the file.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


@frozen
class Mirror:
    """Where clients find the mirror: ``http://host[:port]`` or ``https://host[:port]``."""

    url: str

    @property
    def host(self) -> str:
        """Return the host, with its port if it has one."""
        return Url.parse(self.url).authority

    @property
    def insecure(self) -> bool:
        """Return whether it uses plain HTTP, which some clients have to be configured for."""
        return self.url.startswith("http://")


@frozen
class Registry:
    """A registry that is mirrored.

    ``name`` is the host in names of images. ``server`` is the URL of the registry, for clients to
    fall back to.
    """

    name: str
    server: str


@frozen
class Authority:
    """The certificate authority of the mirror: the absolute path of its file, and the PEM text in it."""

    path: str
    text: str


@frozen
class Wanted:
    """The input of a generator: the client is to use ``mirror`` for ``registries``.

    ``existing`` returns existing files; otherwise generators are pure functions. ``fallback``:
    whether the client may ask the registry if the mirror fails. ``others``: whether it is to use
    the mirror for other registries too, where that is usual (containerd). ``every``: the mirror is
    configured for every registry, so clients use it wherever they can. ``authority``: the
    certificate authority of the mirror, if it is not one of the system's.
    """

    mirror: Mirror
    registries: Sequence[Registry]
    existing: Existing
    fallback: bool = True
    others: bool = True
    every: bool = False
    authority: Authority | None = None

    @property
    def ca(self) -> str | None:
        """Return the path of the certificate authority, if there is one."""
        return None if self.authority is None else self.authority.path

    @property
    def reminders(self) -> tuple[str, ...]:
        """Return a note for clients whose files contain the path of the certificate authority."""
        if self.authority is None:
            return ()
        return (f"{self.authority.path} must exist on every machine that gets this configuration",)

    def certificate(self, folder: str) -> dict[str, str]:
        """Return the file of the authority below a directory with one for each host, if there is one."""
        if self.authority is None:
            return {}
        return {f"{folder}/{self.mirror.host}/ca.crt": self.authority.text}

    def text(self, path: str) -> str | None:
        """Return an existing file, ``None`` if there is none; raise `Unusable` if it is not text."""
        data = self.existing(path)
        if data is None:
            return None
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise Unusable(path, "is not UTF-8") from None


@frozen
class Configuration:
    """The output of a generator: files by absolute path, and notes for the operator.

    ``snippets`` are texts that are not files, by title. ``unusable`` are existing files to which
    nothing could be added.
    """

    files: Mapping[str, str] = field(factory=dict)
    notes: tuple[str, ...] = ()
    snippets: Mapping[str, str] = field(factory=dict)
    unusable: tuple[Unusable, ...] = ()


#: Makes the configuration of a client; `Unusable` if a file whose other contents are to be kept is
#: not understood.
Generator = Callable[[Wanted], Configuration]


def choose_registries(
    names: Iterable[str], upstreams: Iterable[UpstreamSettings]
) -> tuple[tuple[Registry, ...], tuple[str, ...]]:
    """Return the registries of these names without duplicates, and a note for each unusable name.

    ``names`` are namespaces from `oci_registry.config.names.parse_namespace`. The settings of a
    registry's own host in ``upstreams`` decide whether it is reached with TLS.
    """
    plain = {
        upstream.namespace
        for upstream in upstreams
        for host in upstream.hosts
        if host.host == upstream.namespace and not host.tls
    }
    registries: list[Registry] = []
    notes: list[str] = []
    for name in dict.fromkeys(names):
        if not looks_like_host(name):
            notes.append(
                f"{name} is ignored: it is not a host name, and clients would read it as part of a repository"
            )
            continue
        scheme = "http" if name in plain else "https"
        registries.append(Registry(name, f"{scheme}://{_SERVERS.get(name, name)}"))
    return tuple(registries), tuple(notes)
