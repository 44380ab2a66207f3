"""``oci-registry why``: how fresh an image is, and why it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from oci_registry.admin.answers import HostStatus, UpstreamStatus
from oci_registry.commands.options import CommandParser, DaemonParser
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, NOT_FOUND
from oci_registry.commands.rules import add_rules, rules_of
from oci_registry.commands.running import now
from oci_registry.commands.sources import IMAGE, STATUSES, read_options
from oci_registry.commands.tables import NONE, ago, date, size_of
from oci_registry.management.answers import Why
from oci_registry.spec.texts import escaped
from oci_registry.spec.units import roughly


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "why",
        "Say what is cached of an image, how fresh it is, and why it is kept or when it would be removed. "
        "A running daemon answers.",
        STATUSES,
    )
    made.add_argument("image", help=IMAGE)
    add_rules(made)
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    image = asked.subject(asked.options.image)
    with asked.reading(rules_of(asked, environ)) as source:
        why = now(source.why(image))
    for line in _lines(why):
        output.line(escaped(line))
    if why.digest is None:
        output.problem(f"{why.name} is not stored")
    output.finish(why.to_json())
    return DONE if why.image is not None else NOT_FOUND


def _lines(why: Why) -> list[str]:
    lines = [why.name] if why.digest is None else [why.name, *_image(why)]
    # A daemon of another version may describe a registry in another way.
    with suppress(ValueError):
        lines += [] if why.upstream is None else _registry(UpstreamStatus.from_json(why.upstream))
    return lines if len(lines) > 1 else []


def _image(why: Why) -> Iterator[str]:
    image = why.image
    yield f"  digest: {why.digest}"
    if image is not None:
        platforms = ", ".join(image.platforms) or NONE
        yield f"  platforms: {platforms}"
        yield f"  size: {size_of(image.size)} in {image.stored_blobs} of {image.blobs} blobs"
    if why.checked is not None:
        yield f"  confirmed: {date(why.checked)}"
    if why.fresh_until is not None:
        yield f"  fresh until: {date(why.fresh_until)}"
    if why.expires is not None:
        yield f"  expires: {date(why.expires)}"
    for reason in why.reasons:
        yield f"  {reason}"


def _registry(upstream: UpstreamStatus) -> Iterator[str]:
    """Yield how a registry is doing, as the running daemon knows it."""
    notes = [
        *(["not configured"] if not upstream.configured else []),
        *(["offline"] if upstream.offline else []),
    ]
    yield f"  registry: {', '.join([upstream.name, *notes])}"
    for host in upstream.hosts:
        yield f"    host {host.name}: {', '.join(_host(host))}"
        for breaker in host.breakers:
            yield (
                f"      circuit breaker of {breaker.what} {breaker.state} "
                f"for {roughly(breaker.open_for)}: {breaker.reason}"
            )
        for pause in host.paused:
            yield f"      {pause.what} rate limited for another {roughly(pause.seconds)}"
        if host.last_error is not None:
            yield f"      last error {ago(host.last_error.time)} ago: {host.last_error.text}"


def _host(host: HostStatus) -> Iterator[str]:
    if not host.used:
        yield "not asked since the start"
    else:
        yield "available" if host.available else "not available"
    if host.remaining is not None:
        of = "" if host.limit is None else f" of {host.limit}"
        yield f"{host.remaining}{of} requests left of its rate limit"
