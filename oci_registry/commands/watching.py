"""``oci-registry top``: the running downloads, once or repeatedly."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from oci_registry.admin.answers import RunningTransfer, Top
from oci_registry.commands.options import CommandParser, DaemonParser
from oci_registry.commands.output import Output, counted
from oci_registry.commands.problems import DONE, UsageProblem
from oci_registry.commands.reaching import the_daemon
from oci_registry.commands.remote import AdminClient
from oci_registry.commands.sources import read_options
from oci_registry.commands.tables import NONE, Column, print_rows
from oci_registry.spec.units import in_bytes, in_seconds

COLUMNS = (
    Column("REPOSITORY"),
    Column("BLOB"),
    Column("PHASE"),
    Column("DONE", right=True),
    Column("SIZE", right=True),
    Column("RATE", right=True),
    Column("READERS", right=True),
    Column("TIME", right=True),
)
_STATUSES = "0 all done, 1 no daemon answers"
_CLEAR = "\x1b[H\x1b[2J"


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "top",
        "Show the downloads that a running daemon makes, the one that began first at the top: on a "
        "terminal again and again until Ctrl-C, elsewhere once.",
        _STATUSES,
    )
    made.add_argument("--once", action="store_true", help="show them once, on a terminal too")
    made.add_argument(
        "--interval",
        metavar="SECONDS",
        type=float,
        default=1.0,
        help="between two looks; default 1",
    )
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    if not 0.1 <= asked.options.interval <= 3600:
        raise UsageProblem("--interval: must be from 0.1 to 3600 seconds")
    daemon = the_daemon(asked.options, asked.common.place, environ)
    if output.json:
        output.finish(_look(daemon).to_json())
    elif asked.options.once or not output.out.isatty():
        show(_look(daemon), output)
    else:
        _watch(daemon, asked.options.interval, output, time.sleep)
    return DONE


def _look(daemon: AdminClient) -> Top:
    return daemon.read(Top, "GET", "/top")


def _watch(
    daemon: AdminClient, interval: float, output: Output, sleep: Callable[[float], None]
) -> None:
    while True:
        top = _look(daemon)
        print(_CLEAR, end="", file=output.out)
        show(top, output)
        output.out.flush()
        sleep(interval)


def show(top: Top, output: Output) -> None:
    """Print the downloads, and on a terminal their total."""
    if output.out.isatty():
        output.line(f"{counted(top.count, 'download')}, {in_bytes(top.rate)}/s")
    if top.transfers:
        print_rows(output, COLUMNS, [_row(transfer) for transfer in top.transfers])
    if top.count > len(top.transfers):
        output.note(f"{top.count - len(top.transfers)} more are not shown")


def _row(transfer: RunningTransfer) -> list[str]:
    done = NONE
    if transfer.size:
        done = f"{min(100 * transfer.received // transfer.size, 100)} %"
    return [
        f"{transfer.upstream}/{transfer.repository}",
        transfer.digest.partition(":")[2][:12],
        transfer.phase,
        done,
        NONE if transfer.size is None else in_bytes(transfer.size),
        f"{in_bytes(transfer.rate)}/s",
        str(transfer.readers),
        in_seconds(transfer.seconds),
    ]
