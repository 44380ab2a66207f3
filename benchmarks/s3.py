"""Hits and misses from a bucket, beside the same from a directory and beside boto3 alone.

Each sample has a daemon of its own, so that the peak of its memory is that of the sample. The bucket is
`benchmarks.bucket`, or in a real server if ``BENCH_S3_ENDPOINT`` names one, with the keys of the
environment (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``). ``BENCH_S3_SIZE``: MiB of a blob, of which
about forty are in the bucket at a time. ``BENCH_REPEAT``: samples of each kind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from attrs import frozen

from benchmarks.clients import fetch, fetch_together, lingering
from benchmarks.servers import Server, daemon, printing
from benchmarks.tables import Table
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key

SIZE = int(os.environ.get("BENCH_S3_SIZE", "200")) * 1024 * 1024
"""Bytes of a blob."""
MANY = 16
"""Clients, and blobs."""
LARGE = 5 * SIZE
"""Bytes of the one large blob: memory must not depend on it."""
REPEAT = int(os.environ.get("BENCH_REPEAT", "3"))
SLOW = 1024 * 1024
"""Bytes that a slow client reads."""

Work = Callable[[tuple[str, int]], int]


@frozen
class Storages:
    """Where blobs are kept: *name* tells one place of a storage from another."""

    work: Path
    endpoint: str
    bucket: str

    def arguments(self, storage: str, name: str) -> list[str]:
        """Return what the daemon is told."""
        if storage == "directory":
            return ["filesystem", "--root", str(self.work / name)]
        return [
            *["s3", "--host", self.endpoint, "--bucket", self.bucket, "--prefix", name],
            *["--spool", str(self.work / "spool")],
        ]

    def remove(self, storage: str, name: str) -> None:
        """Remove everything at a place."""
        if storage == "directory":
            shutil.rmtree(self.work / name, ignore_errors=True)
            return
        objects = boto3.resource("s3", endpoint_url=self.endpoint).Bucket(self.bucket).objects
        objects.filter(Prefix=f"{name}/").delete()


@contextmanager
def bucket() -> Iterator[tuple[str, str]]:
    """Have an empty bucket for as long as the context lasts; give the server's URL and its name."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "testkey")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "testsecret")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    name = f"bench-{os.getpid()}"
    endpoint = os.environ.get("BENCH_S3_ENDPOINT")
    if endpoint is None:
        with printing("benchmarks.bucket") as (port,):
            yield f"http://127.0.0.1:{port}", name
        return
    made: Any = boto3.resource("s3", endpoint_url=endpoint).create_bucket(Bucket=name)
    try:
        yield endpoint, name
    finally:
        made.objects.all().delete()
        made.delete()


class Measurement:
    """One run: fills a table."""

    def __init__(self, storages: Storages, upstream: int, digests: Sequence[str]) -> None:
        self.table = Table(("S3", "directory", "boto3"))
        self._storages = storages
        self._upstream = upstream
        self._digests = list(digests)
        self._paths = [f"/v2/library/big/blobs/{digest}" for digest in digests]

    @contextmanager
    def _daemon(self, storage: str, name: str) -> Iterator[Server]:
        arguments = self._storages.arguments(storage, name)
        with daemon(self._storages.work, self._upstream, *arguments) as server:
            fetch(server.address, "/v2/")
            server.settle()
            yield server

    def _sample(self, what: str, storage: str, name: str, work: Work) -> None:
        """Let a new daemon work."""
        with self._daemon(storage, name) as server:
            self.table.add("idle", "memory, MiB", storage, server.memory().rss)
            cpu, began = server.cpu(), time.monotonic()
            moved = work(server.address) / 1e9
            took = time.monotonic() - began
            server.settle()
            self.table.add(what, "CPU s/GB", storage, (server.cpu() - cpu) / moved)
            self.table.add(what, "MB/s", storage, moved * 1000 / took)
            self.table.add(what, "peak memory, MiB", storage, server.peak())

    def _download(self, what: str, together: int, digests: Sequence[str], size: int = SIZE) -> None:
        """Let boto3 fetch what the daemon has stored."""
        keys = [f"hits/{blob_key(Digest.parse(digest))}" for digest in digests]
        command = [sys.executable, "-m", "benchmarks.downloads"]
        command += [self._storages.endpoint, self._storages.bucket, str(together), *keys]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        cpu, took, peak = map(float, answer.split())
        moved = len(keys) * size / 1e9
        self.table.add(what, "CPU s/GB", "boto3", cpu / moved)
        self.table.add(what, "MB/s", "boto3", moved * 1000 / took)
        self.table.add(what, "peak memory, MiB", "boto3", peak)

    def _misses(self, what: str, storage: str, work: Work) -> None:
        try:
            self._sample(what, storage, "misses", work)
        finally:
            self._storages.remove(storage, "misses")

    def _linger(self, what: str, storage: str, starts: Sequence[tuple[str, int]]) -> None:
        with self._daemon(storage, "hits") as server, lingering(server.address, starts, SLOW):
            server.settle()
            self.table.add(what, "peak memory, MiB", storage, server.peak())

    def run(self) -> None:
        """Measure everything."""
        many, large = self._paths[:MANY], self._paths[MANY]
        for storage in ("S3", "directory"):
            with self._daemon(storage, "hits") as server:
                for path in self._paths:
                    fetch(server.address, path)
        for _ in range(REPEAT):
            for storage in ("S3", "directory"):
                self._misses("miss", storage, lambda a: sum(fetch(a, path) for path in many[:3]))
                self._misses("16 misses at a time", storage, lambda a: fetch_together(a, many))
                self._sample("hit", storage, "hits", lambda a: fetch(a, many[0], 5))
                self._sample(
                    "16 hits of one blob",
                    storage,
                    "hits",
                    lambda a: fetch_together(a, many[:1] * MANY),
                )
                self._sample(
                    "16 hits of 16 blobs", storage, "hits", lambda a: fetch_together(a, many)
                )
            self._download("hit", 1, self._digests[:1] * 5)
            self._download("16 hits of one blob", MANY, self._digests[:1] * MANY)
            self._download("16 hits of 16 blobs", MANY, self._digests[:MANY])
        for storage in ("S3", "directory"):
            self._misses("miss, 5 times larger", storage, lambda a: fetch(a, large))
            self._sample("hit, 5 times larger", storage, "hits", lambda a: fetch(a, large))
            self._linger("16 slow clients", storage, [(path, 0) for path in many])
            # Each at another place, so that none can do with what another one has fetched.
            places = [(path, k * SIZE // 5) for k in range(4) for path in many]
            self._linger("64 slow clients", storage, places)
        self._download("hit, 5 times larger", 1, self._digests[MANY : MANY + 1], LARGE)


def main() -> None:
    """Measure and print a table."""
    sizes = [str(SIZE)] * MANY + [str(LARGE)]
    with (
        tempfile.TemporaryDirectory() as folder,
        printing("benchmarks.upstream", *sizes) as (port, *digests),
        bucket() as (endpoint, name),
    ):
        measurement = Measurement(Storages(Path(folder), endpoint, name), int(port), digests)
        measurement.run()
    print(measurement.table)
