"""``oci-registry scrub`` by a running daemon: starts a pass, and follows it to its end."""

from __future__ import annotations

import time

from oci_registry.admin.answers import DaemonStatus, ScrubState
from oci_registry.commands.output import NoProgress, Output, Progress, counted
from oci_registry.commands.problems import CORRUPT, DONE, FAILED, CommandFailed
from oci_registry.commands.remote import AdminClient
from oci_registry.spec.sizes import Size
from oci_registry.spec.units import in_bytes

_FIRST, _LONGEST = 0.1, 2.0
"""Seconds between two queries: at first, and later."""


def scrub_by_daemon(daemon: AdminClient, rate: Size | None, output: Output, *, wait: bool) -> int:
    """Start a pass, or follow the one that is running, to its end; return the exit status.

    Ctrl-C stops a pass that was started here. *rate*: None for that of the daemon.
    """
    before = daemon.read(ScrubState, "GET", "/scrub")
    while True:
        state = before
        if before.running:
            ignored = "" if rate is None else "; --rate has no effect on that"
            output.note(f"the daemon is already checking the store{ignored}")
        else:
            state = _start(daemon, rate)
        if not wait:
            break
        state = _follow(daemon, state, output, stop=not before.running)
        if state.problem is not None or state.ended != before.ended:
            break
        # The daemon was only checking whether a pass is due.
        before = state
    return _finish(state, output)


def _start(daemon: AdminClient, rate: Size | None) -> ScrubState:
    body = {} if rate is None else {"rate": rate.bytes}
    state = daemon.read(ScrubState, "POST", "/scrub", body=body)
    if not state.running:
        raise CommandFailed("the daemon does not begin to check the store: it is stopping")
    return state


def _follow(daemon: AdminClient, state: ScrubState, output: Output, *, stop: bool) -> ScrubState:
    """Return the state at the end of the pass. *stop*: whether Ctrl-C stops the pass."""
    progress, pause, first, shown = _bar(daemon, output), _FIRST, state, 0
    try:
        while state.running:
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST)
            state = daemon.read(ScrubState, "GET", "/scrub")
            # Until a pass has begun, the numbers are those of the one before.
            if state.since != first.since or first.ended is None:
                progress.advance(max(state.bytes - shown, 0))
                shown = max(state.bytes, shown)
    except KeyboardInterrupt:
        output.progress.end()
        if stop:
            daemon.read(ScrubState, "DELETE", "/scrub")
            output.note("the check is stopped; run the command again to go on")
        else:
            output.note("the daemon goes on with the check")
        raise
    finally:
        output.progress.end()
    return state


def _bar(daemon: AdminClient, output: Output) -> Progress:
    """Return a progress display; none while the daemon does not know how much is stored."""
    if isinstance(output.progress, NoProgress):
        return output.progress
    size = daemon.read(DaemonStatus, "GET", "/status").size
    if not size:
        return NoProgress()
    output.progress.begin("scrub", size)
    return output.progress


def _finish(state: ScrubState, output: Output) -> int:
    status = DONE
    if state.running:
        output.line("the daemon is checking the store")
    elif state.problem is not None:
        what = "the check is not finished" if state.ended is None else "not everything was checked"
        output.problem(f"{what}: {state.problem}")
        status = FAILED
    else:
        for line in count_lines(
            state.objects,
            state.bytes,
            state.found,
            state.quarantined,
            state.removed,
            state.dangling,
        ):
            output.line(line)
        if state.found:
            output.problem(
                f"{counted(state.found, 'corrupt object')}, {state.refetched} stored again: "
                "the log of the daemon has the details"
            )
            # Objects that are neither in quarantine nor removed are still in place.
            left = state.found > state.quarantined + state.removed
            status = FAILED if left else CORRUPT
    output.finish(
        {
            "running": state.running,
            "objects": state.objects,
            "blobs": state.blobs,
            "bytes": state.bytes,
            "corrupt": state.found,
            "quarantined": state.quarantined,
            "removed": state.removed,
            "refetched": state.refetched,
            "dangling_tags": state.dangling,
        }
    )
    return status


def count_lines(
    objects: int, size: int, found: int, quarantined: int, removed: int, dangling: int
) -> list[str]:
    """Return the findings of a check as lines."""
    checked = (
        f"{counted(objects, 'object')} ({in_bytes(size)}) checked, {found} corrupt: "
        f"{quarantined} in quarantine, {removed} removed"
    )
    if not dangling:
        return [checked]
    missing = counted(dangling, "tag")
    return [checked, f"{missing} whose manifest is not stored: the next pull fetches it"]
