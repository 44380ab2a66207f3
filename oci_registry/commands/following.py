"""``oci-registry log``: the events of a running daemon, as they happen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from oci_registry.commands.options import CommandParser, DaemonParser
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, FAILED
from oci_registry.commands.reaching import the_daemon
from oci_registry.commands.sources import read_options
from oci_registry.events import KINDS
from oci_registry.spec.texts import escaped
from oci_registry.spec.units import in_bytes

_STATUSES = "0 ended by Ctrl-C or --count, 1 no daemon answers or it has stopped"


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "log",
        "Show pulls, downloads, errors and all else that happens in a running daemon, until Ctrl-C. With "
        "--json there is one JSON object in each line.",
        _STATUSES,
    )
    made.add_argument(
        "--kind",
        choices=KINDS,
        action="append",
        default=[],
        help="only events of this kind; repeatable",
    )
    made.add_argument(
        "--recent", metavar="N", type=int, default=0, help="show the latest N events first"
    )
    made.add_argument("--count", metavar="N", type=int, help="end after N events")
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    options = asked.options
    daemon = the_daemon(options, asked.common.place, environ)
    query = [("kind", kind) for kind in options.kind]
    query.append(("recent", str(max(0, min(options.recent, 1000)))))
    shown = 0
    try:
        for event in daemon.events("/events", query):
            text = json.dumps(event) if output.json else line(event)
            print(text, file=output.out, flush=True)
            shown += 1
            if options.count is not None and shown >= options.count:
                return DONE
    except KeyboardInterrupt:
        return DONE
    output.note("the daemon has ended the stream")
    return FAILED


def line(event: Mapping[str, Any]) -> str:
    """Return an event as a readable line."""
    fields = event.get("fields")
    fields = fields if isinstance(fields, dict) else {}
    kind = str(event.get("kind", "?"))
    text = _TEXTS.get(kind, _any)(fields)
    return escaped(f"{_moment(event.get('time'))} {kind} {text}")


def _moment(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return "-"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "-"


def _pull(fields: Mapping[str, Any]) -> str:
    parts = [fields.get("client"), fields.get("method"), fields.get("uri"), fields.get("status")]
    text = " ".join(str(part) for part in parts if part is not None)
    if fields.get("sent") is not None:
        text += f" {in_bytes(_number(fields['sent']))}"
    if fields.get("cache"):
        text += f" {fields['cache']}"
    if _number(fields.get("times")) > 1:
        text += f" {fields['times']} times"
    return text + (f": {fields['error']}" if fields.get("error") else "")


def _download(fields: Mapping[str, Any]) -> str:
    where = f"{fields.get('upstream')}/{fields.get('repository')}"
    text = f"{fields.get('phase')} {where} {fields.get('digest')}"
    if fields.get("received"):
        text += f" {in_bytes(_number(fields['received']))}"
    return text + (f": {fields['error']}" if fields.get("error") else "")


def _warm(fields: Mapping[str, Any]) -> str:
    phase = fields.get("phase")
    if phase == "failed":
        return f"failed {fields.get('name')}: {fields.get('error')}"
    text = f"{phase} {fields.get('images')} images"
    for what in ("done", "failed", "left", "cancelled"):
        text += f" {fields[what]} {what}" if fields.get(what) else ""
    return text


def _text(fields: Mapping[str, Any]) -> str:
    return str(fields.get("text", ""))


def _any(fields: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}={_short(value)}" for name, value in fields.items() if value is not None
    )


def _short(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


_TEXTS = {"pull": _pull, "download": _download, "error": _text, "breaker": _text, "warm": _warm}
