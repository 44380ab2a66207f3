"""Parts of the page about the running daemon: its state, downloads, registries, errors."""

from __future__ import annotations

from collections.abc import Iterator

from oci_registry.admin.answers import (
    DaemonStatus,
    ErrorList,
    EventRecord,
    HostStatus,
    RunningTransfer,
    Top,
    UpstreamPage,
    UpstreamStatus,
)
from oci_registry.admin.page.markup import (
    Node,
    el,
    foreign,
    moment,
    short_digest,
    summary,
    table,
)
from oci_registry.spec.units import counted, in_bytes, roughly

MOST_TRANSFERS = 50
MOST_ERRORS = 20
_KEPT = 100
"""The maximum number of errors that are kept."""


def daemon_part(status: DaemonStatus, now: float) -> Iterator[Node]:
    """Show the state of the daemon."""
    if status.unreadable is not None:
        yield summary("Not ready: the store cannot be read", bad=True)
        yield el("p", foreign(status.unreadable))
    elif status.unwritable is not None:
        yield summary("Ready, but nothing new is stored", bad=True)
        yield el("p", foreign(status.unwritable))
    else:
        yield summary("Ready")
    workers = f", {counted(status.workers, 'worker process')}es" if status.workers > 1 else ""
    yield el(
        "p",
        f"Version {status.version}, running for {roughly(max(now - status.started, 0))}{workers}, "
        f"{counted(status.connections, 'client connection')}. Store: ",
        foreign(status.store),
        class_="detail",
    )


def transfers_part(top: Top) -> Iterator[Node]:
    """Show the running downloads."""
    if not top.count:
        yield summary("No download is running")
        return
    yield summary(f"{counted(top.count, 'download')} {'is' if top.count == 1 else 'are'} running")
    yield el("p", f"{in_bytes(top.rate)}/s in total", class_="detail")
    shown = top.transfers[:MOST_TRANSFERS]
    yield table(
        "Running downloads, oldest first",
        ("Repository", "Progress", "Rate", "Clients", "State", "Blob"),
        [_transfer(each) for each in shown],
        numbers=(2, 3),
        broad=(1,),
    )
    if top.count > len(shown):
        yield el("p", f"and {top.count - len(shown)} more", class_="detail")


def _transfer(one: RunningTransfer) -> list[Node]:
    name = f"{one.upstream}/{one.repository}"
    if one.size:
        share = min(one.received / one.size, 1.0)
        done = f"{in_bytes(one.received)} of {in_bytes(one.size)}"
        progress = el(
            "span",
            el("progress", value=round(share, 3), max=1, aria_label=f"Progress of {name}"),
            el("span", f"{share:.0%}, {done}"),
            class_="progress",
        )
    else:
        progress = el("span", f"{in_bytes(one.received)} received, size unknown")
    state = f"{one.phase} for {roughly(one.seconds)}"
    return [
        foreign(name),
        progress,
        f"{in_bytes(one.rate)}/s",
        str(one.readers),
        state if one.stored else f"{state}, not stored",
        short_digest(one.digest),
    ]


def upstreams_part(page: UpstreamPage, now: float) -> Iterator[Node]:
    """Show the registries, with the health of each host."""
    if not page.upstreams:
        yield summary("No registry has been contacted yet")
        return
    down = sum(not _is_up(each) for each in page.upstreams)
    if down:
        yield summary(f"{down} of {len(page.upstreams)} registries down", bad=True)
    else:
        yield summary("All registries are available")
    yield table(
        "Registries and their hosts",
        ("Registry", "Host", "State", "Circuit breakers", "Rate limit", "Requests", "Last error"),
        [row for each in page.upstreams for row in _upstream(each, now)],
        broad=(3, 6),
    )
    if page.next is not None:
        yield el("p", "More are in /api/v1/upstreams.", class_="detail")


def _is_up(upstream: UpstreamStatus) -> bool:
    return upstream.offline or not upstream.hosts or any(host.available for host in upstream.hosts)


def _upstream(upstream: UpstreamStatus, now: float) -> Iterator[list[Node]]:
    name = foreign(upstream.name)
    if not upstream.hosts:
        yield [name, "", "offline" if upstream.offline else "not contacted yet", "", "", "", ""]
    for host in upstream.hosts:
        state = _state(upstream, host)
        yield [
            name,
            foreign(host.name),
            el(
                "span",
                state,
                class_="good" if state in ("up", "offline", "not contacted yet") else "bad",
            ),
            _breakers(host),
            _budget(host),
            f"{host.connections} running, {host.waiting} waiting",
            None
            if host.last_error is None
            else el("span", moment(host.last_error.time, now), ": ", foreign(host.last_error.text)),
        ]


def _state(upstream: UpstreamStatus, host: HostStatus) -> str:
    if upstream.offline:
        return "offline"
    if not host.available:
        return "down"
    if host.paused:
        return "rate limited"
    return "up" if host.used else "not contacted yet"


def _breakers(host: HostStatus) -> Node:
    if not host.breakers and not host.paused:
        return "closed"
    lines = [
        el(
            "li",
            f"{each.what}: {each.state} for {roughly(each.open_for)}, "
            f"probe in {roughly(max(each.probe_in, 0))}. ",
            foreign(each.reason, 200),
        )
        for each in host.breakers
    ]
    lines += [
        el("li", f"{each.what}: rate limited for {roughly(each.seconds)}") for each in host.paused
    ]
    return el("ul", lines, class_="plain")


def _budget(host: HostStatus) -> Node:
    if host.remaining is None:
        return "none reported"
    of = "" if host.limit is None else f" of {host.limit}"
    return el("span", f"{host.remaining}{of} left", class_="bad" if host.low else None)


def errors_part(found: ErrorList, now: float) -> Iterator[Node]:
    """Show the latest warnings and errors of the log."""
    latest = list(reversed(found.errors))[:MOST_ERRORS]
    if not latest:
        yield summary("No warnings or errors since the start")
        return
    count = len(found.errors)
    more = " or more" if count >= _KEPT else ""
    what = "warning or error" if count == 1 else "warnings and errors"
    yield summary(f"{count}{more} {what} since the start")
    yield table(
        "Latest warnings and errors of the log, newest first",
        ("Time", "Level", "Message"),
        [_error(each, now) for each in latest],
        broad=(2,),
    )


def _error(event: EventRecord, now: float) -> list[Node]:
    level = str(event.fields.get("level", "error"))
    return [
        moment(event.time, now),
        el("span", level, class_="bad" if level != "warn" else None),
        foreign(str(event.fields.get("text", ""))),
    ]
