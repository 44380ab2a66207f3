"""``python -m tools.image``: builds the root of the image and runs the daemon in it, without an engine.

The Dockerfile is followed, instruction by instruction, with this machine in place of the base image.
The daemon then runs as an engine would run it: as the user that the Dockerfile names, without
capabilities, as the first process, with a root that is read-only but for ``/data`` and ``/tmp``.  It
takes root and mounts of its own; where these cannot be had a line says so, and that is all.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.image import dockerfile
from tools.image.roots import BASE_PATH, Root, run

CONTEXT = Path(__file__).parents[2]
PLATFORMS = ("x86_64", "aarch64")
WRITABLE = "/data"
START = 30.0
"""Seconds until the daemon answers."""
STOP = 20.0
"""Seconds until it has stopped."""
_INSIDE = "--inside"
_LISTENING = re.compile(r" on http://127\.0\.0\.1:(\d+)")
_ELSEWHERE = ("/", "/etc", "/opt/oci-registry", "/var/tmp")  # noqa: S108 - where nothing can be
_WRITE = "import sys; open(sys.argv[1], 'x').close()"


class Container:
    """A command that runs in a root as an engine would run it."""

    def __init__(self, root: Root, stage: dockerfile.Stage) -> None:
        self._root = root
        self.stage = stage
        self._environment = stage.environment(BASE_PATH)
        # The engine would give it a network of its own.
        self._environment["LISTEN"] = "127.0.0.1:0"
        self.port = 0
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        command = ["unshare", "--pid", "--fork", "--kill-child", *self._command(*stage.command())]
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def _command(self, *command: str) -> list[str]:
        user, _, group = self.stage.last("USER").text.partition(":")
        confined = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        confined += ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
        return self._root.command(self._environment, *confined, "--", *command)

    def run(self, *command: str) -> None:
        """Run something beside it, as it runs; it must succeed."""
        run(*self._command(*command))

    @property
    def said(self) -> str:
        """What it has written."""
        # Opened again, since the daemon writes where this file is read to.
        return Path(f"/proc/self/fd/{self._log.fileno()}").read_text("utf-8")

    @property
    def pid(self) -> int:
        """The daemon's process, which is the first of its own numbering."""
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def facts(self) -> dict[str, str]:
        """Return what the kernel says of the daemon."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    def status(self, path: str) -> int:
        """Ask it for something; return the status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path)
        return connection.getresponse().status

    def wait(self) -> None:
        """Wait until it answers at the port that it tells."""
        end = time.monotonic() + START
        while time.monotonic() < end and self._process.poll() is None:
            listening = _LISTENING.search(self.said)
            self.port = int(listening[1]) if listening else 0
            try:
                self.status("/healthz")
            except OSError:
                time.sleep(0.1)
            else:
                # Where the health check asks.
                self._environment["LISTEN"] = f"127.0.0.1:{self.port}"
                return
        raise SystemExit(f"it does not answer:\n{self.said}")

    def stop(self) -> int:
        """Stop it as an engine does; return its exit status."""
        os.kill(self.pid, getattr(signal, self.stage.last("STOPSIGNAL").text))
        return self._process.wait(STOP)

    def kill(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()


def build(directory: Path) -> tuple[Root, dockerfile.Stage]:
    """Follow the Dockerfile; return the root and the stage of the image."""
    stages = dockerfile.parse((CONTEXT / "Dockerfile").read_text("utf-8"))
    roots: dict[str, Root] = {}
    for number, stage in enumerate(stages):
        root = Root(directory / f"root-{number}")
        root.make(stage, CONTEXT, roots)
        roots[stage.name] = root
    return root, stage


def check_frozen(root: Root) -> None:
    """Check that not even root can write anywhere but where it should be possible."""
    for directory in _ELSEWHERE:
        try:
            (root.inside(directory) / "written").touch()
        except OSError as error:
            assert error.errno == errno.EROFS, f"{directory}: {error}"
        else:
            raise AssertionError(f"{directory} can be written to")


def check(container: Container) -> None:
    """Check that the daemon is what an image promises; AssertionError says what it is not."""
    container.wait()
    for path in ("/v2/", "/readyz"):
        assert container.status(path) == 200, f"{path} is not answered:\n{container.said}"
    container.run(*container.stage.health_check())
    container.run("python", "-c", _WRITE, f"{WRITABLE}/written")
    facts = container.facts()
    ids = {*facts["Uid"].split(), *facts["Gid"].split()}
    assert ids == {"65532"}, f"it runs as {ids}"
    for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(facts[name], 16) == 0, f"it has {name} {facts[name]}"
    assert facts["NoNewPrivs"] == "1", "it may gain privileges"
    assert facts["NSpid"].split()[-1] == "1", "it is not the first process"
    status = container.stop()
    assert status == 0, f"it ends with status {status}:\n{container.said}"
    lines = container.said.splitlines()
    assert lines[-1].endswith(" info stopped"), container.said
    assert all(" info " in line for line in lines), container.said


def check_wheels() -> None:
    """Check that all that is locked can be had, built, for the image's Python and platforms."""
    base = dockerfile.parse((CONTEXT / "Dockerfile").read_text("utf-8"))[0].base
    version = base.rpartition(":")[2].removesuffix("-slim")
    for platform in PLATFORMS:
        tags = [f"--platform=manylinux{each}_{platform}" for each in ("2014", "_2_28", "_2_34")]
        with tempfile.TemporaryDirectory() as target:
            run(
                sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps",
                "--require-hashes", "--only-binary=:all:", f"--python-version={version}", *tags,
                f"--target={target}", f"--requirement={CONTEXT / 'requirements.lock'}",
            )  # fmt: skip
        print(f"all that is locked is there for Python {version} on {platform}", flush=True)


def inside(directory: Path) -> None:
    """Build and run, in a mount namespace that is nobody else's."""
    root, stage = build(directory)
    root.freeze(WRITABLE)
    check_frozen(root)
    container = Container(root, stage)
    try:
        check(container)
    finally:
        container.kill()
    print("the daemon of the image serves and stops, confined as an engine would confine it")


def main() -> int:
    """Check the image, or say why not."""
    if sys.argv[1:2] == [_INSIDE]:
        inside(Path(sys.argv[2]))
        return 0
    if os.geteuid() != 0:
        print("SKIP  the image's root: it takes root to make and to confine it")
        return 0
    unshare = ["unshare", "--mount", "--propagation", "private"]
    probe = [*unshare, "mount", "--bind", "/usr", "/usr"]
    if not shutil.which("unshare") or subprocess.run(probe, check=False).returncode:  # noqa: S603
        print("SKIP  the image's root: nothing can be mounted here")
        return 0
    check_wheels()
    # Removed from out here, where nothing is mounted in it.
    with tempfile.TemporaryDirectory(prefix="oci-registry-image.") as directory:
        Path(directory).chmod(0o755)
        command = [*unshare, sys.executable, "-m", "tools.image", _INSIDE, directory]
        return subprocess.run(command, check=False, cwd=CONTEXT).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
