"""``python -m tests.soak [--minutes N] [--seed N] [--log FILE]``: see the package's docstring."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tests.soak.run import Hosts, Soak
from tests.soak.volume import SIZE_MIB, small_volume

_LOGS, _FAILURES = 20_000, 20


async def soak(
    reactor: Any,
    seed: int,
    seconds: float,
    log: Path | None,
    options: Sequence[str],
    workers: int,
    share: float | None,
) -> None:
    """Run it and print what it has shown; exit with 1 if a bound is broken.

    The daemon's log goes to *log*, its end to the screen if something is wrong.
    """
    hosts = Hosts(seed)
    try:
        with tempfile.TemporaryDirectory(prefix="oci-registry-soak-") as work:
            place = Path(work) / "volume"
            with small_volume(place) as small:
                if not small:
                    print(f"the disk does not get full: a volume of {SIZE_MIB} MiB takes root")
                run = Soak(reactor, hosts, seed, seconds, place / "store", options, workers, share)
                await run.run()
    finally:
        hosts.end()
    if log is not None:
        log.write_text(run.output)
    broken = run.broken()
    if broken:
        print(run.output[-_LOGS:])
    for failure in run.failures[:_FAILURES]:
        print(failure)
    print("\n".join([*run.figures.lines(), *run.capped_lines()]))
    for sentence in broken:
        print(f"BROKEN: {sentence}")
    if broken:
        raise SystemExit(1)


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="where to write the daemon's log")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of the daemon")
    parser.add_argument("--plain-http", action="store_true", help="as for the daemon")
    parser.add_argument(
        "--cap",
        metavar="SHARE",
        type=float,
        help="limit the store to this part of what all images take, as in 0.1, look after it all the "
        "time, and damage what is stored",
    )
    options = parser.parse_args()
    chosen = ["--plain-http"] if options.plain_http else []

    def begin(reactor: Any) -> Deferred[None]:
        seconds = options.minutes * 60
        running = soak(
            reactor, options.seed, seconds, options.log, chosen, options.workers, options.cap
        )
        return Deferred.fromCoroutine(running)

    react(begin)


if __name__ == "__main__":
    main()
