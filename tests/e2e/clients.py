"""Real clients: skopeo, containerd and podman, and dockerd's sequence of requests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

from tests.e2e.images import digest_of
from tests.e2e.servers import Processes

HOSTS = ("docker.io", "gcr.io", "example.com")


def run(*command: str, timeout: float = 120, **environment: str) -> str:
    """Run a client; raise with what it said when it fails."""
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


class Skopeo:
    """skopeo, which asks as podman, buildah and CRI-O do: with the host in front of the path."""

    def __init__(self, work: Path, mirror: str) -> None:
        self._work = work
        self._conf = work / "registries.conf"
        entries = [f'[[registry]]\nlocation = "{mirror}"\ninsecure = true\n']
        entries += [
            f'[[registry]]\nprefix = "{host}"\nlocation = "{host}"\n'
            f'[[registry.mirror]]\nlocation = "{mirror}/{host}"\ninsecure = true\n'
            for host in HOSTS
        ]
        self._conf.write_text("\n".join(entries))
        self._count = 0

    def copy(self, image: str, *options: str) -> Path:
        """Copy an image into a new folder and return it."""
        self._count += 1
        target = self._work / f"skopeo{self._count}"
        shutil.rmtree(target, ignore_errors=True)
        conf = str(self._conf)
        run(
            *("skopeo", "--registries-conf", conf, "copy", "-q", *options),
            *(f"docker://{image}", f"dir:{target}"),
        )
        return target

    def pull(self, image: str, digest: str, *options: str) -> None:
        """Copy an image with all platforms and compare its digest."""
        target = self.copy(image, "--all", *options)
        found = digest_of((target / "manifest.json").read_bytes())
        assert found == digest, f"{image} is {found}, not {digest}"
        shutil.rmtree(target)


class Containerd:
    """containerd, which names the registry in ``ns``."""

    def __init__(self, processes: Processes, mirror: str) -> None:
        self._processes = processes
        self._work = processes.work / "containerd"
        for host in HOSTS:
            folder = self._work / "certs.d" / host
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "hosts.toml").write_text(
                f'server = "https://{host}"\n[host."http://{mirror}"]\n'
                '  capabilities = ["pull", "resolve"]\n'
            )
        self._socket = f"{self._work}/c.sock"

    def start(self) -> None:
        """Start it with an empty store."""
        config = self._work / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self._work}/root"\nstate = "{self._work}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\n  address = "{self._socket}"\n'
        )
        self._processes.start("containerd", "containerd", "-c", str(config))
        for _ in range(100):
            try:
                self.ctr("version")
            except AssertionError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("containerd does not start")

    def stop(self) -> None:
        """Stop it and forget its store."""
        self._processes.stop("containerd")
        shutil.rmtree(self._work / "root", ignore_errors=True)

    def ctr(self, *command: str) -> str:
        """Run its client."""
        return run("ctr", "-a", self._socket, *command)

    def pull(self, image: str, *options: str) -> None:
        """Pull an image through the mirror."""
        hosts = str(self._work / "certs.d")
        self.ctr(
            *("images", "pull", "--snapshotter", "native", "--hosts-dir", hosts, *options, image)
        )

    def run(self, image: str) -> str:
        """Run a command in a container of the image."""
        command = ("run", "--rm", "--snapshotter", "native", image, "e2e")
        return self.ctr(*command, "/bin/busybox", "cat", "/etc/arch")


def pull_as_dockerd(address: str, repository: str, tag: str) -> None:
    """Ask as dockerd does: bare path, a connection per request, HEAD of the tag, then digests."""

    def ask(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(address, timeout=30)
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Connection", "close")
        for media_type in ("manifest.v2+json", "manifest.list.v2+json"):
            connection.putheader("Accept", f"application/vnd.docker.distribution.{media_type}")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body

    assert ask("GET", "/v2/")[0] == 200
    status, headers, _ = ask("HEAD", f"/v2/{repository}/manifests/{tag}")
    assert status == 200, status
    digest = headers["docker-content-digest"]
    while True:
        status, headers, raw = ask("GET", f"/v2/{repository}/manifests/{digest}")
        assert (status, digest_of(raw)) == (200, digest), digest
        manifest = json.loads(raw)
        assert headers["content-type"] == manifest["mediaType"]
        if "manifests" not in manifest:
            break
        digest = manifest["manifests"][0]["digest"]
    for blob in (manifest["config"], *manifest["layers"]):
        status, headers, data = ask("GET", f"/v2/{repository}/blobs/{blob['digest']}")
        assert (status, digest_of(data)) == (200, blob["digest"]), blob
        assert int(headers["content-length"]) == blob["size"]
