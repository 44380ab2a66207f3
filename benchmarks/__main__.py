"""``python -m benchmarks [TABLE] [OPTIONS]``: what hits and misses cost, beside other programs.

TABLE: ``peers`` (unless another one is named), ``compare``, ``filesystem``, ``s3``.
"""

from __future__ import annotations

import sys

import benchmarks.compare
import benchmarks.filesystem
import benchmarks.peers
import benchmarks.s3

ALONE = {"filesystem": benchmarks.filesystem.main, "s3": benchmarks.s3.main}
WITH_OPTIONS = {"peers": benchmarks.peers.main, "compare": benchmarks.compare.main}


def main() -> None:
    """Measure and print."""
    names = sys.argv[1:]
    if not names or names[0].startswith("-"):
        names = ["peers", *names]
    if names[0] in WITH_OPTIONS:
        WITH_OPTIONS[names[0]](names[1:])
        return
    for name in names:
        if name not in ALONE:
            known = ", ".join([*WITH_OPTIONS, *ALONE])
            raise SystemExit(f"there is no table {name!r}: known are {known}")
        ALONE[name]()
        print()


if __name__ == "__main__":
    main()
