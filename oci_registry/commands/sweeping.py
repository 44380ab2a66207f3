"""``oci-registry sweep``: makes a running daemon remove expired objects now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from oci_registry.admin.answers import SweepStatus
from oci_registry.commands.options import CommandParser, DaemonParser
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, FAILED
from oci_registry.commands.reaching import the_daemon
from oci_registry.commands.sources import read_options
from oci_registry.spec.units import in_seconds

_STATUSES = "0 all done, 1 the sweep has failed or no daemon answers"
_PAUSE = 0.2


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "sweep",
        "Have a running daemon remove what has not been used for too long, and wait for the end.",
        _STATUSES,
    )
    made.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    daemon = the_daemon(asked.options, asked.common.place, environ)
    status = daemon.read(SweepStatus, "POST", "/sweep")
    while status.running and not asked.options.no_wait:
        time.sleep(_PAUSE)
        status = daemon.read(SweepStatus, "GET", "/sweep")
    if status.error is not None:
        output.problem(f"the sweep has failed: {status.error}")
    elif status.running:
        output.line("the sweep has begun")
    else:
        output.line(f"the sweep has taken {in_seconds(status.seconds or 0.0)}")
    output.finish(status.to_json())
    return DONE if status.error is None else FAILED
