"""A machine for what the pages tell people to type: a directory that stands for /, and programs."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_INDEX
from tests.support.daemon import reactor
from tests.support.fake_registry import FakeRegistry
from tests.support.ports import free_port
from tests.support.process import SOURCE, ListeningProcess

LAYER = b"layer" * 1000
"""The only layer of the image that is pulled."""
PROGRAMS = Path(sys.executable).parent
# Directories of the machine that pages name, and the words that stand for one of the reader's.
_PLACES = re.compile(
    r"(?<![\w./])(/var/lib/oci-registry|/etc/oci-registry|/etc/ssl|/media/disk|ROOT)\b"
)


class Terminal(ListeningProcess):
    """A script in a terminal of its own, to which Ctrl-C can be typed."""

    def interrupt(self) -> Deferred[Any]:
        """Type Ctrl-C, which reaches all that runs there; fires at the end."""
        self.process.write(b"\x03")
        return self.ended

    def end(self) -> Deferred[Any] | None:
        if self.ended.called:
            return None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.ended


@frozen
class Done:
    """What a script that has ended has said, and its status."""

    output: str
    errors: str
    status: int


@frozen
class Machine:
    """Runs scripts in `root`, which is also where they find the directories that they name."""

    root: Path
    environment: Mapping[str, str]

    @classmethod
    def new(cls, root: Path, **environment: str) -> Machine:
        """Return one with an empty directory, and these variables beside the usual ones."""
        root.mkdir(parents=True)
        path = f"{root / 'bin'}{os.pathsep}{PROGRAMS}{os.pathsep}/usr/bin:/bin"
        usual = {"PATH": path, "HOME": str(root), "PYTHONPATH": SOURCE, "TMPDIR": str(root)}
        # Where they would listen if nobody said so, they may not, or not all at once.
        return cls(root, {**usual, "LISTEN": "127.0.0.1:0", **environment})

    def place(self, path: str) -> Path:
        """Return where a directory of the machine is."""
        return self.root / path.strip("/")

    def adapted(self, script: str, mirror: int | None = None) -> str:
        """Return a script with the paths of this machine, and ports that are free.

        ``mirror`` is the port of the mirror that it talks to.
        """
        script = _PLACES.sub(lambda found: str(self.place(found[0])), script)
        script = script.replace("--write /\n", f"--write {self.root}\n")
        script = script.replace("--write / ", f"--write {self.root} ")
        script = re.sub(r"listen (0\.0\.0\.0|127\.0\.0\.1):\d+", "listen 127.0.0.1:0", script)
        port = free_port()
        script = script.replace("ssl:8443:", f"ssl:{port}:interface=127.0.0.1:")
        script = script.replace("localhost:8443", f"localhost:{port}")
        script = script.replace("haproxy:tcp:8082:", "haproxy:tcp:0:")
        if mirror is not None:
            script = script.replace("127.0.0.1:8080", f"127.0.0.1:{mirror}")
            for url in ("https://mirror.example/", "http://mirror.example:8080/"):
                script = script.replace(url, f"http://127.0.0.1:{mirror}/")
            asked = "--check --mirror http://"
            script = script.replace(f"{asked}mirror.example:8080", f"{asked}127.0.0.1:{mirror}")
            script = script.replace(
                "--url http://mirror.example:8080", f"--url http://127.0.0.1:{mirror}"
            )
        return script

    async def run(self, script: str) -> Done:
        """Run a script of commands that end by themselves; the first that fails ends it."""
        output, errors, status = await getProcessOutputAndValue(
            "/bin/bash",
            ["-e", "-o", "pipefail", "-c", script],
            dict(self.environment),
            str(self.root),
            reactor,
        )
        return Done(output.decode(), errors.decode(), status)

    def start(self, script: str, directory: Path | None = None) -> Terminal:
        """Start a script that ends in a daemon; the caller ends it."""
        return Terminal(
            reactor,
            ["/bin/bash", "-c", script],
            self.environment,
            path=str(directory or self.root),
            usePTY=True,
        )


def busybox() -> FakeRegistry:
    """Return a registry, which listens, with the image that the pages pull."""
    registry = FakeRegistry()
    registry.start(reactor)
    for repository in ("library/busybox", "prometheus/busybox"):
        digest, _ = registry.add_image(repository, "amd64", LAYER)
        manifest, media_type = registry.manifests[repository, "amd64"]
        described = (
            f'{{"mediaType":"{media_type}","digest":"{digest}","size":{len(manifest)},'
            '"platform":{"architecture":"amd64","os":"linux"}}'
        )
        index = f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{described}]}}'
        registry.add_manifest(repository, "latest", index.encode(), OCI_INDEX)
    return registry


def upstream_file(registry: FakeRegistry) -> str:
    """Return an upstream file that has all that is pulled come from there."""
    entry = '- {{namespace: {}, host: "{}", tls: false}}\n'
    return "".join(entry.format(name, registry.host) for name in ("docker.io", "quay.io"))


def blob_path(data: bytes) -> str:
    """Return where a store has a blob."""
    digest = Digest.of(data)
    return f"blobs/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded[2:]}"
