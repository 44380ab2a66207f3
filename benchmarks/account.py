"""The account of a large store: what it takes on the disk and in memory, and whom it delays.

    python -m benchmarks.account [--blobs 1000000] [--manifests 200000] [--folder DIRECTORY]

It makes a store of as many files, has the account built as the daemon does, and prints a table. The
pause of the reactor is measured with a call every millisecond, and once without an account.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from twisted.internet import reactor as real_reactor  # noqa: TID251 - the daemon's own clock
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react

from benchmarks.objects import populate
from oci_registry.account.account import Account
from oci_registry.account.database import Database
from oci_registry.account.images import heads
from oci_registry.account.queries import START, idle_blobs, set_lifetimes
from oci_registry.account.ranking import ranked_after
from oci_registry.account.schema import FILE, size_on_disk
from oci_registry.account.victims import queue_lengths
from oci_registry.management.index import DaemonIndex
from oci_registry.management.usage import disk_use
from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.storage.keys import blob_key, manifest_key
from oci_registry.storage.totals import StoredTotals
from oci_registry.streams.threads import Lanes, Workers
from oci_registry.workers.reports import resident_memory

LAYERS = 5
HOST = "docker.io"


def blob(number: int) -> Digest:
    """Return the digest of a blob that `populate` has made."""
    return Digest("sha256", hashlib.sha256(number.to_bytes(8, "big")).hexdigest())


def manifests(root: Path, count: int, blobs: int) -> list[Digest]:
    """Store *count* manifests of `LAYERS` blobs each; most share their first ones."""
    made, chance = [], random.Random(1)
    for number in range(count):
        shared = [int(chance.paretovariate(0.4)) % blobs for _ in range(2)]
        own = [(number * (LAYERS - 2) + i) % blobs for i in range(LAYERS - 2)]
        layers = [{"mediaType": "a/b", "digest": str(blob(n)), "size": 1} for n in (*shared, *own)]
        raw = json.dumps({"schemaVersion": 2, "layers": layers, "number": number}).encode()
        digest = Digest.of(raw)
        path = root / manifest_key(HOST, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps({"mediaType": OCI_MANIFEST}).encode() + b"\n" + raw)
        made.append(digest)
    return made


class Pulse:
    """The longest time between two calls that were due every millisecond."""

    def __init__(self) -> None:
        self._last = monotonic()
        # Counted by tenths of a millisecond: a list of them would be most of what is measured.
        self._gaps: Counter[int] = Counter()
        self._looping = LoopingCall(self._beat)

    def _beat(self) -> None:
        now = monotonic()
        self._gaps[int((now - self._last) * 1e4)] += 1
        self._last = now

    def start(self) -> None:
        """Begin."""
        self._looping.start(0.001)

    def take(self) -> str:
        """Return the longest pause, and the one of one in a thousand, since the last time, in ms."""
        gaps, self._gaps = self._gaps, Counter()
        left = gaps.total() // 1000
        for gap in sorted(gaps, reverse=True):
            left -= gaps[gap]
            if left < 0:
                break
        return f"{max(gaps) / 10:.1f} (p99.9 {gap / 10:.1f})"


def memory() -> float:
    """Return the memory of this process in MiB."""
    return (resident_memory() or 0) / 2**20


def tell(what: str, figure: object) -> None:
    """Print a row."""
    print(f"| {what} | {figure} |", flush=True)


async def measure(reactor: Any, root: Path, images: list[Digest], blobs: int) -> None:
    """Build the account of *root*, and use it."""
    lane = Workers(reactor, "lane", 1)
    thread = Workers(reactor, "account", 1)
    for pool in (lane, thread):
        pool.start()
    pulse = Pulse()
    pulse.start()
    await deferLater(reactor, 3.0)
    tell("longest pause of the reactor without an account, ms", pulse.take())
    driver = FilesystemDriver(str(root), Lanes(lane, lane, lane, lane), reactor)
    before, cpu, began = memory(), process_time(), monotonic()
    account = Account(
        Database(str(root / FILE), driver, 0.0), thread, reactor, StoredTotals(), Metrics()
    )
    account.start()
    peak = 0.0
    while not account.is_complete:
        await deferLater(reactor, 0.05)
        peak = max(peak, memory())
    tell("rebuild, s", f"{monotonic() - began:.1f}")
    tell("rebuild, CPU s", f"{process_time() - cpu:.1f}")
    tell("longest pause of the reactor meanwhile, ms", pulse.take())
    tell("memory, MiB more at the peak", f"{peak - before:.1f}")
    tell("file, MiB", f"{size_on_disk(str(root / FILE)) / 2**20:.0f}")
    tell("objects", account.state and account.state.sums.objects)
    chance = random.Random(2)
    looked = [blob_key(blob(chance.randrange(blobs))) for _ in range(20_000)]
    began = monotonic()
    for start in range(0, len(looked), 1000):
        for key in looked[start : start + 1000]:
            account.changed(key)
        await account.flush()
    tell("changed key looked at and recorded, µs", f"{(monotonic() - began) / 2e4 * 1e6:.0f}")
    pulls = [manifest_key(HOST, chance.choice(images)) for _ in range(5000)]
    began = monotonic()
    for start in range(0, len(pulls), 500):
        for key in pulls[start : start + 500]:
            account.used(key, 4e9)
        await account.flush()
    tell("use of an image, µs", f"{(monotonic() - began) / 5e3 * 1e6:.0f}")
    tell("longest pause of the reactor meanwhile, ms", pulse.take())
    await account.ask(set_lifetimes({}, 86400.0))
    for when in ("first", "second"):
        began = monotonic()
        await account.ask(idle_blobs(3e9, 86400.0, 86400.0, START))
        tell(f"page of 200 idle blobs, {when} time, ms", f"{(monotonic() - began) * 1e3:.1f}")
    for when in ("first", "second"):
        began, cpu = monotonic(), process_time()
        last: int | None = 0
        while last is not None:
            # As the admin API does for the largest images, with few that are large enough.
            _, last = await account.ask(ranked_after(last, 200, 10**12, 10**6))
        tell(f"all images compared, {when} time, s", f"{monotonic() - began:.1f}")
        tell(f"all images compared, {when} time, CPU s", f"{process_time() - cpu:.1f}")
    for when in ("first", "second"):
        cpu = process_time()
        await account.ask(heads(0.0, lambda _: False))
        await account.ask(queue_lengths())
        tell(f"what is evicted next, {when} time, CPU ms", f"{(process_time() - cpu) * 1e3:.1f}")
    tell("longest pause of the reactor meanwhile, ms", pulse.take())
    began, cpu = monotonic(), process_time()
    await disk_use(DaemonIndex(account), None)
    tell("sums of disk use, s", f"{monotonic() - began:.1f}")
    tell("sums of disk use, CPU s", f"{process_time() - cpu:.1f}")
    tell("longest pause of the reactor meanwhile, ms", pulse.take())
    began, cpu = monotonic(), process_time()
    account._due = 0.0
    await deferLater(reactor, 2.0)
    while account.state is not None and account.state.comparing:
        await deferLater(reactor, 0.05)
    tell("comparison with the store, s", f"{monotonic() - began:.1f}")
    tell("comparison with the store, CPU s", f"{process_time() - cpu:.1f}")
    tell("longest pause of the reactor meanwhile, ms", pulse.take())
    tell("memory, MiB more at the end", f"{memory() - before:.1f}")
    await account.stop()
    for pool in (lane, thread):
        pool.stop()


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blobs", type=int, default=1_000_000)
    parser.add_argument("--manifests", type=int, default=200_000)
    parser.add_argument("--folder", help="where to make the store, or where one was made before")
    options = parser.parse_args()
    root = Path(options.folder or tempfile.mkdtemp())
    made = root / "made.json"
    if made.exists():
        images = [Digest.parse(text) for text in json.loads(made.read_text())]
        for end in ("", "-wal"):
            (root / f"{FILE}{end}").unlink(missing_ok=True)
    else:
        populate(root, options.blobs)
        images = manifests(root, options.manifests, options.blobs)
        made.write_text(json.dumps([str(digest) for digest in images]))
    print(f"| {options.blobs:,} blobs, {options.manifests:,} manifests | |\n|---|---|")

    def run(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(measure(reactor, root, images, options.blobs))

    try:
        react(run, _reactor=real_reactor)
    finally:
        sys.stdout.flush()
        if not options.folder:
            shutil.rmtree(root)
            os.sync()


if __name__ == "__main__":
    main()
