"""wrk: requests as fast as a server answers them, and the delay that clients see."""

from __future__ import annotations

import re
import shutil
import subprocess

from attrs import frozen

from benchmarks.load import BadResponse
from oci_registry.spec.mediatypes import ACCEPT_MANIFESTS

PROGRAM = shutil.which("wrk")
"""wrk, if it is installed."""

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_REQUESTS = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_P99 = re.compile(r"^\s*99%\s+([\d.]+)(us|ms|s|m)\s*$", re.MULTILINE)


@frozen
class Outcome:
    """What wrk has seen: responses, and the milliseconds within which 99 % of them came."""

    responses: int
    p99: float


def parse(text: str) -> Outcome:
    """Return what wrk prints with ``--latency``; BadResponse if requests failed."""
    requests, p99 = _REQUESTS.search(text), _P99.search(text)
    if requests is None or p99 is None or not int(requests[1]):
        raise BadResponse("wrk has seen no responses")
    for line in text.splitlines():
        # Timeouts alone are slow responses; wrk counts them among its latencies.
        if "Non-2xx" in line or (
            "Socket errors" in line and "connect 0, read 0, write 0" not in line
        ):
            raise BadResponse(f"wrk: {line.strip()}")
    return Outcome(int(requests[1]), float(p99[1]) * _UNITS[p99[2]])


def run(address: tuple[str, int], path: str, connections: int, seconds: float) -> Outcome:
    """GET *path* on so many connections for some time, which wrk takes in whole seconds."""
    assert PROGRAM is not None
    command = [
        PROGRAM,
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--latency",
        "--timeout",
        "10s",
    ]
    command += ["-H", f"Accept: {ACCEPT_MANIFESTS}", f"http://{address[0]}:{address[1]}{path}"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    return parse(answer.stdout)
