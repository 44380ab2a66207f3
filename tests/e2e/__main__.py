"""``python -m tests.e2e``: every check prints a line; the last line sums up; as root, on Debian.

Needs docker-registry, skopeo, containerd, runc, busybox-static, apache2-utils and openssl; uses podman
and Go where they are.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from tests.e2e import conformance
from tests.e2e.clients import Containerd, Skopeo, pull_as_dockerd, run
from tests.e2e.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Pusher,
    digest_of,
)
from tests.e2e.servers import Mirror, Processes, Upstreams

NEEDED = ("docker-registry", "skopeo", "containerd", "ctr", "runc", "htpasswd", "openssl")


class Checks:
    """Runs checks and counts."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def check(self, what: str, call: Callable[..., object], *args: object) -> None:
        """Run a check; it fails by raising."""
        began = time.monotonic()
        try:
            told = call(*args)
        except Exception:
            self.failed += 1
            print(f"FAIL  {what}")
            print("      | " + traceback.format_exc().replace("\n", "\n      | "))
        else:
            self.passed += 1
            note = f" ({told})" if isinstance(told, str) else ""
            print(f"PASS  {what}{note} [{time.monotonic() - began:.1f} s]", flush=True)

    def skip(self, what: str, why: str) -> None:
        """Say what was not checked."""
        self.skipped += 1
        print(f"SKIP  {what}: {why}")


class Run:
    """One run: what is in the registries, and who pulls it."""

    def __init__(self, processes: Processes, checks: Checks) -> None:
        self.processes, self.checks = processes, checks
        self.upstreams = Upstreams(processes)
        self.mirror = Mirror(processes, self.upstreams)
        self.digests: dict[str, str] = {}

    def push(self) -> None:
        """Fill the registries, which share their files."""
        pusher = Pusher(self.upstreams.host("open"))
        library = "library/"
        self.subject = pusher.image(f"{library}oci", "1", OCI_MANIFEST)
        self.digests["docker.io/library/oci:1"] = str(self.subject["digest"])
        single = pusher.image(f"{library}schema2", "1", DOCKER_MANIFEST)
        self.digests["docker.io/library/schema2:1"] = str(single["digest"])
        for name, index, image in (
            ("index", OCI_INDEX, OCI_MANIFEST),
            ("list", DOCKER_LIST, DOCKER_MANIFEST),
        ):
            for host, path in (("docker.io", f"{library}{name}"), ("gcr.io", f"team/{name}")):
                digest = pusher.index(path, "1", index, image)
                self.digests[f"{host}/{path}:1"] = digest
        many = pusher.image("team/sub/many", "1", OCI_MANIFEST, layers=12, size=2_000_000)
        self.digests["example.com/team/sub/many:1"] = str(many["digest"])
        self.private = pusher.index("private/app", "1", DOCKER_LIST, DOCKER_MANIFEST)
        self.referrer = pusher.referrer(f"{library}oci", self.subject)
        self._push_zstd()

    def _push_zstd(self) -> None:
        """Let skopeo make a copy with zstd layers."""
        host = self.upstreams.host("open")
        run(
            *("skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"),
            *("--dest-compress", "--dest-compress-format", "zstd", "--format", "oci"),
            *(f"docker://{host}/library/oci:1", f"docker://{host}/library/zstd:1"),
        )
        raw = run(
            "skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{host}/library/zstd:1"
        )
        assert "zstd" in raw
        self.digests["docker.io/library/zstd:1"] = digest_of(raw.encode())

    def pull_everything(self, when: str) -> None:
        """Pull all images by all clients."""
        check, mirror = self.checks.check, self.mirror.address
        skopeo = Skopeo(self.processes.work, mirror)
        for image, digest in self.digests.items():
            check(f"{when}: skopeo {image}", skopeo.pull, image, digest)
        by_digest = f"docker.io/library/list@{self.digests['docker.io/library/list:1']}"
        check(f"{when}: skopeo by digest", skopeo.pull, by_digest, by_digest.partition("@")[2])
        for host in ("basic.example", "bearer.example", "ca.example", "any.example"):
            image = f"{mirror}/{host}/private/app:1"
            check(f"{when}: skopeo {host}, a private image", skopeo.pull, image, self.private)
        for repository in ("library/schema2", "library/list", "library/oci", "index"):
            check(
                f"{when}: dockerd's requests, {repository}",
                pull_as_dockerd,
                mirror,
                repository,
                "1",
            )
        containerd = Containerd(self.processes, mirror)
        containerd.start()
        try:
            for image, digest in self.digests.items():
                check(f"{when}: containerd {image}", containerd.pull, image)
                name = image.rpartition(":")[0]
                if image.endswith("/list:1"):
                    check(
                        f"{when}: containerd {name} by digest, all platforms",
                        containerd.pull,
                        f"{name}@{digest}",
                        "--all-platforms",
                    )
            image = "docker.io/library/schema2:1"
            check(f"{when}: containerd runs {image}", self._runs, containerd, image)
        finally:
            containerd.stop()
        self._podman(when)

    def _runs(self, containerd: Containerd, image: str) -> None:
        assert containerd.run(image).strip() == "amd64"

    def _podman(self, when: str) -> None:
        if shutil.which("podman") is None:
            self.checks.skip(f"{when}: podman", "it is not installed")
            return
        work = self.processes.work
        conf = str(work / "registries.conf")
        command = ["podman", "--storage-driver", "vfs", "--root", f"{work}/podman"]
        command += ["--runroot", f"{work}/podman-run"]
        image = "docker.io/library/list:1"
        self.checks.check(
            f"{when}: podman {image}",
            lambda: run(*command, "pull", "-q", image, CONTAINERS_REGISTRIES_CONF=conf) and None,
        )
        run(*command, "rmi", "-a", "-f", CONTAINERS_REGISTRIES_CONF=conf)

    def refusals(self) -> None:
        """What must not be had is not had."""
        skopeo = Skopeo(self.processes.work, self.mirror.address)

        def refused(image: str) -> None:
            try:
                skopeo.copy(image)
            except AssertionError:
                return
            raise AssertionError(f"{image} was pulled")

        mirror, check = self.mirror.address, self.checks.check
        check(
            "a private image without credentials",
            refused,
            f"{mirror}/anonymous.example/private/app:1",
        )
        check(
            "a certificate that nobody vouches for",
            refused,
            f"{mirror}/strict.example/library/oci:1",
        )
        check("an image nobody has", refused, "docker.io/library/no-such-image:1")

    def conformance(self) -> None:
        """Run the conformance suite over one repository."""
        suite = conformance.install(self.processes.work)
        if suite is None:
            self.checks.skip("OCI conformance, read-only", "Go is not installed")
            return

        def manifest(digest: str) -> dict[str, object]:
            with urlopen(f"http://{self.mirror.address}/v2/library/oci/manifests/{digest}") as got:
                value: dict[str, object] = json.loads(got.read())
                return value

        digest = str(self.subject["digest"])
        document = manifest(digest)
        layers = document["layers"]
        assert isinstance(layers, list)
        blobs = [str(layer["digest"]) for layer in layers]
        self.checks.check(
            "OCI conformance, read-only",
            conformance.conform,
            suite,
            self.processes.work,
            self.mirror.address,
            "library/oci",
            ["1"],
            [digest, self.referrer],
            blobs,
            [digest],
        )


def same(before: int, run_: Run) -> None:
    """Nobody has asked an upstream since."""
    now = run_.upstreams.requests()
    assert now == before, f"{now - before} requests reached upstream"


def main() -> int:
    """Run everything; return the exit status."""
    checks = Checks()
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        checks.skip("everything", f"not installed: {', '.join(missing)}")
    else:
        with tempfile.TemporaryDirectory(prefix="oci-registry-e2e-") as folder:
            processes = Processes(Path(folder))
            run_ = Run(processes, checks)
            try:
                run_.upstreams.start()
                run_.push()
                run_.mirror.start()
                run_.pull_everything("cold")
                run_.refusals()
                time.sleep(0.5)
                before = run_.upstreams.requests()
                run_.pull_everything("warm")
                checks.check("the second pull asks no upstream", same, before, run_)
                run_.conformance()
                checks.check("the daemon stops in order", lambda: _stopped(run_.mirror.stop()))
                run_.upstreams.stop()
                run_.mirror.start()
                run_.pull_everything("restarted, upstreams down")
                text = processes.log("mirror").read_text()
                checks.check("the daemon logged no traceback", lambda: _clean(text))
            finally:
                processes.stop_all()
    print(f"e2e: {checks.passed} passed, {checks.failed} failed, {checks.skipped} skipped")
    return 1 if checks.failed else 0


def _stopped(status: int | None) -> None:
    # twistd ends by the signal that ended it.
    assert status in (0, -15), f"exit status {status}"


def _clean(log: str) -> None:
    assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:3000]


if __name__ == "__main__":
    sys.exit(main())
