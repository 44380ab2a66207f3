"""A daemon with a large store and warm caches: its longest rounds while it does each kind of work.

    python -m benchmarks.large --folder DIRECTORY [--only rebuild,sweep] [--blobs 1000000] [--manifests 200000]

The store is made in the directory unless it is there. Two clients pull all the time: 10,000 tags, and now
and then one of all manifests. What expires or is evicted is stored again by the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.request import urlopen

from attrs import frozen

from benchmarks.account import HOST, blob, manifests
from benchmarks.clients import fetch, read_response, request
from benchmarks.pauses import upstream_file
from benchmarks.rounds import Rounds, Spread, now
from benchmarks.servers import Server, free_port, running
from oci_registry.account.nouns import BLOCK
from oci_registry.account.schema import FILE
from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.tags import TagRecord

TAGS = 10_000
"""As many as are remembered."""
GAP = 0.002
"""Seconds between two requests of a client."""
SOME = 20.0
"""Seconds of work that does not end soon."""
_STATUSES = (b"200", b"502")
"""What clients get: images that are there, and those that have been evicted or have expired."""
_NOTHING = 1
"""A port that nobody listens on: nothing is asked of a registry."""


def _name(number: int) -> str:
    return f"library/app{number}"


def make(root: Path, blobs: int, count: int, *, whole: bool) -> list[Digest]:
    """Store blobs of eight bytes, manifests and tags, unless they are there; return the manifests.

    *whole*: nothing is missing, so blobs and manifests need not be looked at.
    """
    made = root / "made.json"
    for number in range(0 if whole else blobs):
        path = root / blob_key(blob(number))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(number.to_bytes(8, "big"))
            # As what the daemon has verified.
            path.chmod(0o444)
    images = [Digest.parse(text) for text in json.loads(made.read_text())] if made.exists() else []
    if not whole and not all(
        (root / manifest_key(HOST, image)).exists() for image in images or [blob(0)]
    ):
        images = manifests(root, count, blobs)
        made.write_text(json.dumps([str(image) for image in images]))
    for number, image in enumerate(images[:TAGS]):
        # All of them fresh.
        path = root / tag_key(HOST, _name(number), "1")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TagRecord(image, OCI_MANIFEST, time.time()).to_json())
    return images


class Client:
    """Requests *paths* one after the other, again and again, on one connection."""

    def __init__(self, server: Server, paths: Callable[[], str]) -> None:
        self._address = server.address
        self._paths = paths
        self._stop = Event()
        self._thread = Thread(target=self.run)

    def run(self) -> None:
        """Request until the end."""
        buffer = memoryview(bytearray(65536))
        with socket.create_connection(self._address) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._stop.is_set():
                connection.sendall(request(self._paths()))
                read_response(connection, buffer, statuses=_STATUSES)
                time.sleep(GAP)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Request in a thread for as long as the context lasts."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()


def warm(server: Server, tags: int) -> None:
    """Request each tag once."""
    buffer = memoryview(bytearray(65536))
    with socket.create_connection(server.address) as connection:
        for number in range(tags):
            connection.sendall(request(f"/v2/{_name(number)}/manifests/1"))
            read_response(connection, buffer, statuses=_STATUSES)


def _paths(images: Sequence[Digest], tags: int, seed: int) -> Callable[[], str]:
    """Return a function that returns the paths that a client requests: *tags* of them, and some by digest."""
    chance = random.Random(seed)
    known = min(tags, len(images))

    def path() -> str:
        if chance.random() < 0.05:
            return f"/v2/library/app/manifests/{chance.choice(images)}"
        return f"/v2/{_name(chance.randrange(known))}/manifests/1"

    return path


@frozen
class Running:
    """A daemon that is measured, in *folder*, with its store at *root*."""

    server: Server
    rounds: Rounds
    folder: Path
    root: Path

    def command(self, *words: str, seconds: float | None = None) -> None:
        """Run a command of the daemon to its end, or interrupt it after *seconds*; it must not fail."""
        program = [sys.executable, "-m", "oci_registry", *words, "--root", str(self.root)]
        process = subprocess.Popen(program, stdout=subprocess.DEVNULL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
        else:
            if process.returncode:
                raise RuntimeError(f"{words[0]} ended with {process.returncode}")

    def metric(self, name: str) -> float:
        """Return a metric without labels."""
        host, port = self.server.address
        with urlopen(f"http://{host}:{port}/metrics") as response:
            for line in response.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        raise ValueError(name)

    def complete(self) -> None:
        """Wait until the account is complete."""
        while not self.metric("oci_registry_account_complete"):
            time.sleep(5)

    def rebuild(self) -> None:
        """Remove the account, and wait for the new one."""
        for end in ("", "-wal", "-shm"):
            (self.root / f"{FILE}{end}").unlink(missing_ok=True)
        while self.metric("oci_registry_account_complete"):
            time.sleep(0.1)
        self.complete()

    def reload(self) -> None:
        """Have 500 upstreams reloaded, with other settings, several times."""
        for number in range(2, 7):
            (self.folder / "upstreams.yaml").write_text(upstream_file(_NOTHING, number))
            os.kill(self.server.process.pid, signal.SIGHUP)
            time.sleep(3)

    def scrape(self) -> None:
        """Read the metrics several times."""
        for _ in range(30):
            fetch(self.server.address, "/metrics")


WORK: dict[str, Callable[[Running], object]] = {
    "rest": lambda _: time.sleep(10),
    "reload": Running.reload,
    "scrape": Running.scrape,
    "ls": lambda daemon: daemon.command("ls"),
    "largest": lambda daemon: daemon.command("ls", "--sort", "size", "--limit", "100"),
    "du": lambda daemon: daemon.command("du"),
    "sweep": lambda daemon: daemon.command("sweep"),
    "scrub": lambda daemon: daemon.command("scrub", "--rate", "0", seconds=SOME),
    "rebuild": Running.rebuild,
    "expire": lambda daemon: daemon.command("sweep", seconds=SOME),
    "evict": lambda _: time.sleep(SOME),
}
"""What the daemon does meanwhile. The last two have a daemon each, with other settings."""
_SPECIAL = ("expire", "evict")


class Peak(Thread):
    """The most memory of a process while it is watched, in MiB."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.most = 0.0

    def run(self) -> None:
        while True:
            try:
                self.most = max(self.most, self._server.memory().rss)
            except OSError:
                return
            time.sleep(0.1)


@contextmanager
def daemon(folder: Path, root: Path, upstreams: str, *options: str) -> Iterator[Running]:
    """Run a daemon on the store for as long as the context lasts."""
    rounds, port = Rounds(folder / "rounds"), free_port()
    (folder / "upstreams.yaml").write_text(upstreams)
    command = [sys.executable, *rounds.program, "--listen", f"127.0.0.1:{port}", *options]
    command += ["--upstream-config-file", str(folder / "upstreams.yaml")]
    command += ["filesystem", "--root", str(root)]
    with running("oci-registry", command, port, log=folder / "log") as server:
        yield Running(server, rounds, folder, root)


def measure(daemon: Running, images: Sequence[Digest], works: Sequence[str]) -> None:
    """Do each kind of work while clients pull, and print a row of each."""
    peak = Peak(daemon.server)
    with ExitStack() as stack:
        if images:
            warm(daemon.server, min(TAGS, len(images)))
            for seed, tags in enumerate((2000, TAGS)):
                client = Client(daemon.server, _paths(images, tags, seed))
                stack.enter_context(client.running())
        time.sleep(2)
        peak.start()
        for work in works:
            time.sleep(0.5)
            before, began, used = daemon.server.memory().rss, now(), daemon.server.cpu()
            peak.most = before
            WORK[work](daemon)
            spread = Spread.of(daemon.rounds.since(began))
            print(
                f"| {work} | {spread.longest:.1f} | {spread.rare:.1f} | {spread.long} | {spread.rounds}"
                f" | {spread.cause} | {daemon.server.cpu() - used:.1f} | {now() - began:.0f}"
                f" | {before:.1f} | {peak.most - before:+.1f} |",
                flush=True,
            )


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--blobs", type=int, default=1_000_000)
    parser.add_argument("--manifests", type=int, default=200_000)
    parser.add_argument("--only", default=",".join(WORK), help="kinds of work")
    parser.add_argument("--whole", action="store_true", help="nothing of the store is missing")
    parser.add_argument("--no-clients", action="store_true", help="for memory")
    options = parser.parse_args()
    images = make(options.folder, options.blobs, options.manifests, whole=options.whole)
    works = options.only.split(",")
    pulled = [] if options.no_clients else images
    print(
        "| meanwhile | longest, CPU ms | p99.9 | over 10 ms | rounds | the longest | CPU s | s",
        end="",
    )
    print(" | MiB before | MiB more at most |\n|---" + "|---" * 9 + "|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        usual = [work for work in works if work not in _SPECIAL]
        many, one = upstream_file(_NOTHING, 1), f"host: 'localhost:{_NOTHING}', tls: false"
        with daemon(folder, options.folder, many) as run:
            run.complete()
            # Each takes a block of the disk at least.
            size = run.metric("oci_registry_store_objects") * BLOCK
            measure(run, pulled, usual)
        if "expire" in works:
            short = f"- {{namespace: {HOST}, {one}, blob_invalidation_time: 1s}}\n"
            with daemon(folder, options.folder, short) as run:
                run.complete()
                measure(run, pulled, ["expire"])
        if "evict" in works:
            with daemon(folder, options.folder, many, "--max-size", f"{int(size)}B") as run:
                measure(run, pulled, ["evict"])


if __name__ == "__main__":
    main()
