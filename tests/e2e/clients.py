"""Real clients, each asked to pull an image through the mirror and to show what it got."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from tests.e2e.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Image, digest_of
from tests.e2e.servers import Processes

#: Nobody listens there: whatever the mirror does not answer, nothing else does.
NOWHERE = "127.0.0.1:1"


class Client(Protocol):
    """A client with a store of its own."""

    name: str

    def start(self) -> None:
        """Begin with an empty store."""

    def stop(self) -> None:
        """Forget the store."""

    def asks_for(self, image: Image) -> bool:
        """Tell whether this client would ask a mirror for the image."""

    def pull(self, image: Image, reference: str) -> None:
        """Pull the image by one of its names; raise unless all that came is right."""


def run(
    *command: str, timeout: float = 120, environment: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Run a command, *environment* added to ours; raise with what it said when it fails."""
    done = subprocess.run(
        command,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-1500:]}")
    return done.stdout


def compare(files: Iterable[Path], image: Image) -> None:
    """Hash files, and raise unless they are what the image was pushed as."""
    found = {digest_of(file.read_bytes()) for file in files}
    missing, foreign = image.contents - found, found - image.contents
    assert not missing, f"missing: {sorted(missing)}"
    assert not foreign, f"never pushed: {sorted(foreign)}"


class Containers:
    """Where the configuration is that skopeo, podman, buildah and CRI-O share: mirrors by path.

    *options* are skopeo's, *environment* is for all.
    """

    def __init__(self, work: Path, options: tuple[str, ...] = (), **environment: str) -> None:
        self.options = options
        self.environment = environment
        self.policy = str(work / "policy.json")
        Path(self.policy).write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    @classmethod
    def written(cls, work: Path, mirror: str, hosts: Iterable[str]) -> Containers:
        """Write one by hand, by which nobody but the mirror answers."""
        registries = work / "registries.conf"
        entries = [f'[[registry]]\nlocation = "{mirror}"\ninsecure = true\n']
        entries += [
            f'[[registry]]\nprefix = "{host}"\nlocation = "{NOWHERE}/{host}"\n'
            f'[[registry.mirror]]\nlocation = "{mirror}/{host}"\ninsecure = true\n'
            for host in hosts
        ]
        registries.write_text("\n".join(entries))
        options = ("--registries-conf", str(registries))
        return cls(work, options, CONTAINERS_REGISTRIES_CONF=str(registries))


class Skopeo:
    """skopeo, which takes every platform of an image and keeps the bytes as they came."""

    name = "skopeo"

    def __init__(self, work: Path, shared: Containers) -> None:
        self._target = work / "skopeo"
        self._command = ("skopeo", *shared.options, "--policy", shared.policy)
        self._environment = shared.environment

    def start(self) -> None:
        """Begin: there is no store."""

    def stop(self) -> None:
        """Forget the last image."""
        shutil.rmtree(self._target, ignore_errors=True)

    def asks_for(self, image: Image) -> bool:
        """Tell that it asks for all."""
        return True

    def pull(self, image: Image, reference: str) -> None:
        """Copy the image into a folder."""
        self.stop()
        self.copy(f"docker://{reference}", self._target)
        compare((file for file in self._target.iterdir() if file.name != "version"), image)

    def copy(self, source: str, target: Path) -> None:
        """Copy all platforms of an image from anywhere into a folder."""
        copy = ("copy", "-q", "--all", source, f"dir:{target}")
        run(*self._command, *copy, environment=self._environment)

    def digest(self, source: str) -> str:
        """Return the digest of what a name means now."""
        raw = run(*self._command, "inspect", "--raw", source, environment=self._environment)
        return digest_of(raw.encode())

    def tags(self, repository: str) -> list[str]:
        """List tags; this never goes by the mirrors, so *repository* begins with the mirror."""
        told = json.loads(run(*self._command, "list-tags", f"docker://{repository}"))
        return [str(tag) for tag in told["Tags"]]


class Podman:
    """podman, which takes one platform into a store of its own."""

    name = "podman"

    def __init__(self, work: Path, shared: Containers) -> None:
        self._work = work / "podman"
        self._shared = shared

    def _podman(self, *command: str) -> str:
        return run(
            *("podman", "--storage-driver", "vfs", "--root", f"{self._work}/root"),
            *("--runroot", f"{self._work}/run", "--tmpdir", f"{self._work}/tmp", *command),
            environment=self._shared.environment,
        )

    def start(self) -> None:
        """Begin: the store is made by the first pull."""

    def stop(self) -> None:
        """Remove what was pulled."""
        self._podman("rmi", "--all", "--force")
        shutil.rmtree(self._work, ignore_errors=True)

    def asks_for(self, image: Image) -> bool:
        """Tell that it asks for all."""
        return True

    def pull(self, image: Image, reference: str) -> None:
        """Pull the image; podman itself verifies what it takes, so its digest tells all."""
        self._podman("pull", "-q", "--signature-policy", self._shared.policy, reference)
        digests = json.loads(
            self._podman("image", "inspect", "-f", "{{json .RepoDigests}}", reference)
        )
        assert image.pinned in digests, f"{image.pinned} is not in {digests}"
        self._podman("rmi", "--force", reference)


class Containerd:
    """containerd, which names the registry in ``ns``; with all platforms of an image."""

    name = "containerd"

    def __init__(self, processes: Processes, hosts: Path) -> None:
        self._processes = processes
        self._work = processes.work / "containerd"
        self._socket = f"{self._work}/socket"
        self._hosts = hosts

    @staticmethod
    def written(work: Path, mirror: str, hosts: Iterable[str]) -> Path:
        """Write a directory of hosts by hand, by which nobody but the mirror answers."""
        folder = work / "certs.d"
        for host in hosts:
            (folder / host).mkdir(parents=True)
            (folder / host / "hosts.toml").write_text(
                f'server = "http://{NOWHERE}"\n[host."http://{mirror}"]\n'
                '  capabilities = ["pull", "resolve"]\n'
            )
        return folder

    def start(self) -> None:
        """Start it with an empty store."""
        self._work.mkdir(exist_ok=True)
        config = self._work / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self._work}/root"\nstate = "{self._work}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\n  address = "{self._socket}"\n'
        )
        self._processes.start("containerd", "containerd", "-c", str(config))
        for _ in range(150):
            try:
                self._ctr("version")
            except AssertionError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("containerd does not start")

    def stop(self) -> None:
        """Stop it and forget its store."""
        self._processes.stop("containerd")
        shutil.rmtree(self._work / "root", ignore_errors=True)

    def asks_for(self, image: Image) -> bool:
        """Tell that it asks for all."""
        return True

    def _ctr(self, *command: str) -> str:
        return run("ctr", "-a", self._socket, *command)

    def _fetch(self, reference: str, *options: str) -> None:
        hosts = ("--hosts-dir", str(self._hosts), "--snapshotter", "native")
        self._ctr("images", "pull", *hosts, *options, reference)

    def _forget(self, reference: str) -> None:
        self._ctr("images", "rm", "--sync", reference)

    def pull(self, image: Image, reference: str) -> None:
        """Pull the image, hash what lies in the content store, and empty that."""
        self._fetch(reference, "--all-platforms")
        content = self._work / "root" / "io.containerd.content.v1.content" / "blobs" / "sha256"
        compare(content.iterdir(), image)
        self._forget(reference)
        assert not list(content.iterdir()), "containerd keeps content of no image"

    def cat(self, image: Image, file: str) -> str:
        """Return what a container made of the image reads from one of its files."""
        self._fetch(image.tagged)
        command = ("run", "--rm", "--snapshotter", "native", image.tagged, "e2e")
        text = ""
        for _ in range(3):
            text = self._ctr(*command, "/bin/busybox", "cat", file)
            if text:
                break
            # On a busy machine ctr may lose the output of a container that ends at once.
        self._forget(image.tagged)
        return text


class Dockerd:
    """dockerd's requests without a dockerd, which does not run everywhere.

    As Docker Engine 20.10 makes them: the bare path, a new connection for each request, ``/v2/``,
    ``HEAD`` of the reference, then manifests by digest down to one platform, then blobs.
    """

    name = "dockerd's requests"
    accept = (
        *(DOCKER_LIST, OCI_INDEX, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        *("application/json", DOCKER_MANIFEST, OCI_MANIFEST),
    )

    def __init__(self, mirror: str) -> None:
        self._mirror = mirror

    def start(self) -> None:
        """Begin: there is no store."""

    def stop(self) -> None:
        """Have nothing to forget."""

    def asks_for(self, image: Image) -> bool:
        """Tell that Docker knows mirrors of one registry only."""
        return image.host == "docker.io"

    def _ask(self, method: str, path: str, status: int = 200) -> tuple[dict[str, str], bytes]:
        connection = HTTPConnection(self._mirror, timeout=30)
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("User-Agent", "docker/20.10.24 go/go1.19.8 os/linux")
        for media_type in self.accept if "/manifests/" in path else ():
            connection.putheader("Accept", media_type)
        connection.putheader("Connection", "close")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status == status, f"{method} {path}: {answer.status} {body[:300]!r}"
        return {name.lower(): value for name, value in answer.getheaders()}, body

    def pull(self, image: Image, reference: str) -> None:
        """Walk from the reference down to the layers, as dockerd does."""
        tail = reference.removeprefix(image.name)[1:]
        self._ask("GET", "/v2/")
        base = f"/v2/{image.repository}"
        headers, body = self._ask("HEAD", f"{base}/manifests/{tail}")
        assert not body, f"HEAD has a body of {len(body)} bytes"
        digest = headers["docker-content-digest"]
        assert digest == image.digest, f"HEAD tells {digest}"
        while True:
            told = headers["content-type"], headers["content-length"]
            headers, body = self._ask("GET", f"{base}/manifests/{digest}")
            assert digest_of(body) == digest == headers["docker-content-digest"], digest
            manifest = json.loads(body)
            assert headers["content-type"] == manifest["mediaType"], headers
            assert digest != image.digest or told == (manifest["mediaType"], str(len(body))), told
            if "manifests" not in manifest:
                break
            digest = manifest["manifests"][0]["digest"]
        for part in (manifest["config"], *manifest["layers"]):
            headers, body = self._ask("GET", f"{base}/blobs/{part['digest']}")
            assert digest_of(body) == part["digest"] == headers["docker-content-digest"], part
            assert int(headers["content-length"]) == part["size"], headers
            assert headers["accept-ranges"] == "bytes", headers
