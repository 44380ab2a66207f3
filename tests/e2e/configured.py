"""Clients that know of the mirror what ``oci-registry setup`` wrote for them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which

from tests.e2e.checks import Checks
from tests.e2e.clients import Client, Containerd, Containers, Podman, Skopeo, run
from tests.e2e.images import Image
from tests.e2e.servers import COMMAND, Mirror, Processes


def clients(processes: Processes, mirror: Mirror, checks: Checks) -> Iterator[Client]:
    """Give those that are installed, each configured below a directory of its own."""
    root = processes.work / "machine"
    file = ("--upstream-config-file", mirror.config)
    # containerd gets everything else by its default.
    for name, *options in (
        ("containerd", "--namespace", "docker.io"),
        ("podman", *file),
        ("docker", *file),
    ):
        checks.check(f"setup {name} --write", _write, mirror, root, name, *options)
    yield Containerd(processes, root / "etc/containerd/certs.d")
    # The same directory as /etc/containers, which is the machine's own.
    home = processes.work / "home"
    (home / ".config").mkdir(parents=True)
    (home / ".config/containers").symlink_to(root / "etc/containers")
    shared = Containers(processes.work, HOME=str(home))
    yield Skopeo(processes.work, shared)
    if which("podman"):
        yield Podman(processes.work, shared)
    if which("dockerd") and which("docker"):
        yield Docker(processes, root / "etc/docker/daemon.json")
    else:
        checks.skip("docker, as it was set up", "docker and dockerd are not installed")


def _write(mirror: Mirror, root: Path, client: str, *options: str) -> str:
    """Write a client's configuration, and see that it is right once it is written."""
    command = (COMMAND, "setup", client, "--mirror", f"http://{mirror.address}", *options)
    first, second = (run(*command, "--write", str(root)) for _ in range(2))
    files = first.count(": written\n")
    assert files, first
    assert second.count(": unchanged\n") == files, second
    assert ": written" not in second, second
    return f"{files} files"


class Docker:
    """dockerd, which takes one platform of images of docker.io into a store of its own."""

    name = "docker"

    def __init__(self, processes: Processes, config: Path) -> None:
        self._processes = processes
        self._work = processes.work / "docker"
        self._config = config
        self._host = f"unix://{self._work}/socket"

    def start(self) -> None:
        """Start it with an empty store and without a network for containers."""
        self._work.mkdir(exist_ok=True)
        self._processes.start(
            "dockerd",
            *("dockerd", "--config-file", str(self._config), "--host", self._host),
            *("--data-root", f"{self._work}/data", "--exec-root", f"{self._work}/exec"),
            *("--pidfile", f"{self._work}/pid", "--storage-driver", "vfs"),
            *("--bridge", "none", "--iptables=false", "--ip6tables=false"),
        )
        for _ in range(300):
            try:
                self._docker("version")
            except AssertionError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"dockerd does not start:\n{self._processes.tail('dockerd')}")

    def stop(self) -> None:
        """Stop it and forget its store."""
        self._processes.stop("dockerd")
        shutil.rmtree(self._work, ignore_errors=True)

    def asks_for(self, image: Image) -> bool:
        """Tell that it knows mirrors of docker.io only; not every dockerd knows zstd."""
        return image.host == "docker.io" and not image.repository.endswith("/zstd")

    def _docker(self, *command: str) -> str:
        return run("docker", "--host", self._host, *command)

    def pull(self, image: Image, reference: str) -> None:
        """Pull the image; dockerd itself verifies what it takes, so its digest tells all."""
        self._docker("pull", "--quiet", reference)
        told = self._docker("image", "inspect", "--format", "{{json .RepoDigests}}", reference)
        digests = [name.partition("@")[2] for name in json.loads(told)]
        assert digests == [image.digest], digests
        self._docker("image", "rm", "--force", reference)
