"""The servers of the table: the daemon, nginx and distribution, each with and without what is wanted."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol
from urllib.request import urlopen

from attrs import frozen

from benchmarks.processes import Cores, pinned
from benchmarks.servers import Server, distribution_config, free_port, printing, running

MANIFEST = "/v2/library/big/manifests/1"
"""The manifest of an upstream, by tag."""
PROJECT = Path(__file__).parent.parent


@frozen
class Upstream:
    """An upstream registry, and the digests of its layers; the last one is there to warm a server up."""

    port: int
    digests: Sequence[str]
    authority: Path | None = None

    @property
    def url(self) -> str:
        """Where it is; a name, since few verify a certificate for an address."""
        return f"{'https' if self.authority else 'http'}://localhost:{self.port}"

    @property
    def blobs(self) -> list[str]:
        """The paths of its layers."""
        return [f"/v2/library/big/blobs/{digest}" for digest in self.digests]

    def manifest(self) -> str:
        """Return the digest of the manifest."""
        with urlopen(self.url + MANIFEST) as response:
            return str(response.headers["Docker-Content-Digest"])

    def gets(self, digest: str) -> int:
        """Return how often it has sent a layer."""
        context = ssl.create_default_context(cafile=self.authority) if self.authority else None
        with urlopen(f"{self.url}/gets/{digest}", context=context) as response:
            return int(response.read())


@contextmanager
def upstream(cores: Cores, sizes: Sequence[int], *options: str) -> Iterator[Upstream]:
    """Run an upstream with layers of these sizes for as long as the context lasts."""
    words = [*map(str, sizes), *options]
    with pinned(cores.load), printing("benchmarks.upstream", *words) as (port, *digests):
        authority = Path(options[1]) / "ca.pem" if options[:1] == ("--tls",) else None
        yield Upstream(int(port), digests, authority)


class Contender(Protocol):
    """A kind of server."""

    @property
    def name(self) -> str:
        """How the table calls it."""

    def serving(self, work: Path, upstream: Upstream) -> AbstractContextManager[Server]:
        """Run one for hits, which has in *work* what has been fetched from it there before."""

    def caching(self, work: Path, upstream: Upstream) -> AbstractContextManager[Server]:
        """Run one for misses, as a cache of *upstream* in *work*."""


@frozen
class Daemon:
    """The daemon of a source tree."""

    name: str
    cores: Cores
    tree: Path = PROJECT

    @contextmanager
    def caching(
        self,
        work: Path,
        upstream: Upstream,
        upstreams: str | None = None,
        program: Sequence[str] = ("-m", "oci_registry"),
        options: Sequence[str] = (),
    ) -> Iterator[Server]:
        """Run it with a directory as its store.

        *upstreams*: another file of upstreams. *program*: arguments of Python. *options*: more of ours.
        """
        port = free_port()
        if upstreams is None:
            upstreams = f"- namespace: docker.io\n  host: localhost:{upstream.port}\n"
            ca_file = upstream.authority
            upstreams += f"  ca_file: {ca_file}\n" if ca_file else "  tls: false\n"
        (work / "upstreams.yaml").write_text(upstreams)
        command = [sys.executable, *program, "--listen", f"127.0.0.1:{port}", *options]
        command += ["--upstream-config-file", str(work / "upstreams.yaml")]
        with running(
            self.name,
            [*command, "filesystem", "--root", str(work / "store")],
            port,
            cores=self.cores.servers,
            log=work / "log",
            environment=_as_installed(self.tree),
            directory=self.tree,
        ) as server:
            yield server

    serving = caching

    def has(self, option: str) -> bool:
        """Whether the daemon of this tree has an option."""
        command = [sys.executable, "-m", "oci_registry", "--help"]
        environment = {**os.environ, **_as_installed(self.tree)}
        answer = subprocess.run(
            command, env=environment, cwd=self.tree, capture_output=True, text=True, check=False
        )
        return option in answer.stdout


def _as_installed(tree: Path) -> dict[str, str]:
    """Return the environment in which a source tree runs as if it was installed: compiled once."""
    compiled = tree / "build" / "benchmarks" / "compiled"
    return {
        "PYTHONPATH": str(tree),
        "PYTHONPYCACHEPREFIX": str(compiled),
        "PYTHONDONTWRITEBYTECODE": "",
    }


@frozen
class Distribution:
    """CNCF distribution as a pull-through cache."""

    name: str
    cores: Cores
    program: str

    @contextmanager
    def caching(self, work: Path, upstream: Upstream) -> Iterator[Server]:
        """Run it with a directory as its storage."""
        port = free_port()
        config = work / "distribution.yml"
        config.write_text(distribution_config(work / "store", port, upstream.url))
        environment = {"OTEL_TRACES_EXPORTER": "none"}
        if upstream.authority:
            environment["SSL_CERT_FILE"] = str(upstream.authority)
        with running(
            self.name,
            [self.program, "serve", str(config)],
            port,
            cores=self.cores.servers,
            log=work / "log",
            environment=environment,
        ) as server:
            yield server

    serving = caching


def distribution_version(program: str) -> str | None:
    """Return the first two numbers of a program's version, or None if it does not run."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version = answer.stdout.split()[-1].removeprefix("v")
    numbers = version.partition("+")[0].split(".")
    return ".".join(numbers[:2]) if numbers[0].isdigit() else "3.x"


DISTRIBUTION_3 = "github.com/distribution/distribution/v3/cmd/registry@v3.0.0"


def build_distribution(folder: Path) -> str | None:
    """Return the program of distribution 3, built into *folder* by Go unless it is there; else None."""
    program = folder / "registry"
    go = shutil.which("go")
    if not program.exists() and go is not None:
        environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(
                [go, "install", DISTRIBUTION_3], env=environment, check=True, timeout=1200
            )
        except (OSError, subprocess.SubprocessError):
            return None
    return str(program) if program.exists() else None
