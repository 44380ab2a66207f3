"""``python -m tools.simulate [TRACE]``: compares policies of eviction on the pulls of a trace.

TRACE is an access log in JSON lines; without it, a trace is made up. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from tools.simulate.policies import LeastRecentlyUsed, Policy, WholeImages
from tools.simulate.trace import Trace, make_up, read_log

SHARES = (0.03, 0.1, 0.3)
POLICIES: dict[str, Callable[[int, dict[str, int]], Policy]] = {
    "LRU of blobs": LeastRecentlyUsed,
    "LRU of blobs, a pull uses all": lambda cap, sizes: LeastRecentlyUsed(cap, sizes, whole=True),
    "S3-FIFO of images": WholeImages,
}


def survivors(trace: Trace, stored: set[str]) -> tuple[int, int]:
    """Return how many images have a stored manifest, and how many of them are complete."""
    images = {pull.manifests[-1]: pull for pull in trace.pulls}
    there = [pull for name, pull in images.items() if name in stored]
    complete = sum(stored.issuperset((*pull.manifests, *pull.image)) for pull in there)
    return len(there), complete


def compare(trace: Trace, shares: Sequence[float] = SHARES) -> list[str]:
    """Return the lines of the table."""
    lines = [
        "| cap | policy | bytes missed | requests missed | images left | complete |",
        "|---|---|---|---|---|---|",
    ]
    for share in shares:
        for name, make in POLICIES.items():
            policy = make(int(trace.corpus * share), trace.sizes)
            for pull in trace.pulls:
                policy.pull(pull)
            figures = policy.figures
            there, complete = survivors(trace, policy.stored())
            lines.append(
                f"| {share:.0%} | {name} | {_part(figures.bytes_missed, figures.bytes_asked)}"
                f" | {_part(figures.requests_missed, figures.requests)}"
                f" | {there} | {_part(complete, there)} |"
            )
    return lines


def _part(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def main(arguments: Sequence[str]) -> int:
    """Compare, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m tools.simulate", description=__doc__)
    parser.add_argument("trace", nargs="?", help="an access log in JSON lines")
    parser.add_argument("--seed", type=int, default=1, help="of the trace that is made up")
    options = parser.parse_args(arguments)
    if options.trace:
        with open(options.trace, encoding="utf-8", errors="replace") as lines:
            trace = read_log(lines)
    else:
        trace = make_up(options.seed)
    if not trace.pulls:
        print("there are no pulls in this trace", file=sys.stderr)
        return 1
    print(f"{len(trace.pulls)} pulls of {trace.corpus / 2**30:.1f} GiB\n")
    print("\n".join(compare(trace)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
