"""``python -m benchmarks [filesystem | s3]``: what hits and misses cost; both tables unless one is named."""

from __future__ import annotations

import sys

import benchmarks.filesystem
import benchmarks.s3

TABLES = {"filesystem": benchmarks.filesystem.main, "s3": benchmarks.s3.main}


def main() -> None:
    """Measure and print."""
    for name in sys.argv[1:] or TABLES:
        if name not in TABLES:
            raise SystemExit(f"there is no table {name!r}: known are {', '.join(TABLES)}")
        TABLES[name]()
        print()


if __name__ == "__main__":
    main()
