"""``oci-registry warm`` by the admin API: makes a daemon fetch images, and follows it until the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence

from oci_registry.admin.warm_answers import WarmedImage, WarmedImages, WarmStatus
from oci_registry.commands.output import Output, counted
from oci_registry.commands.problems import DONE, CommandFailed
from oci_registry.commands.remote import AdminClient
from oci_registry.commands.warm_report import CANCELLED, LEFT, Warmed
from oci_registry.management.problems import NotStored
from oci_registry.spec.image import ImageName
from oci_registry.spec.platforms import Platform

MOST = 500
"""The number of images in one request; more are fetched after these."""
LARGEST = 60_000
"""The maximum size in bytes of a list of images as JSON that a daemon accepts."""
_PAGE = 100
_FIRST, _LONGEST = 0.1, 2.0
"""Seconds between two queries: at first, and later."""
_BY_OTHERS = "it was cancelled by someone else, or the daemon is stopping"


def warm_by_daemon(
    daemon: AdminClient,
    names: Sequence[ImageName],
    platforms: Sequence[Platform],
    jobs: int,
    output: Output,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Warmed]:
    """Make a daemon fetch images, and return the outcomes; Ctrl-C cancels it."""
    found: list[Warmed] = []
    cancelled = False
    for part in in_parts([str(name) for name in names]):
        if cancelled:
            found += [_not_begun(name) for name in part]
            continue
        body = {"images": part, "platforms": [str(each) for each in platforms], "jobs": jobs}
        begun = daemon.read(WarmStatus, "POST", "/warm", body=body)
        ended = _follow(daemon, begun, output, sleep)
        cancelled = ended.state == "cancelled"
        found += _results(daemon, ended, output)
    return found


def cancel(daemon: AdminClient, output: Output) -> int:
    """Cancel the daemon's running warming, if there is one; return the exit status."""
    before = daemon.read(WarmStatus, "GET", "/warm")
    status = before
    if before.state == "running":
        status = daemon.read(WarmStatus, "DELETE", "/warm", [("run", str(before.run))])
        output.line(
            f"cancelled: {status.done} of {counted(status.images, 'image')} stored completely"
        )
    else:
        output.line("the daemon is warming nothing")
    output.finish({"run": status.run, "state": status.state, "cancelled": status.cancelled})
    return DONE


def in_parts(names: Sequence[str], most: int = MOST, largest: int = LARGEST) -> Iterator[list[str]]:
    """Yield lists of names, each small enough for one request."""
    part: list[str] = []
    size = 0
    for name in names:
        length = len(json.dumps(name)) + 2
        if part and (len(part) == most or size + length > largest):
            yield part
            part, size = [], 0
        part.append(name)
        size += length
    if part:
        yield part


def _follow(
    daemon: AdminClient, status: WarmStatus, output: Output, sleep: Callable[[float], None]
) -> WarmStatus:
    """Return the status at the end."""
    query, pause, shown = [("run", str(status.run))], _FIRST, 0
    output.progress.begin("warm", status.bytes)
    try:
        while status.state == "running":
            sleep(pause)
            pause = min(pause * 1.5, _LONGEST)
            status = _look(daemon, query)
            output.progress.grow(status.bytes)
            done = status.bytes_stored + status.bytes_received
            output.progress.advance(max(done - shown, 0))
            shown = max(done, shown)
    except KeyboardInterrupt:
        output.progress.end()
        _cancel(daemon, query, output)
        raise
    finally:
        output.progress.end()
    return status


def _look(daemon: AdminClient, query: Sequence[tuple[str, str]]) -> WarmStatus:
    try:
        return daemon.read(WarmStatus, "GET", "/warm", query)
    except NotStored:
        raise CommandFailed(
            f"the daemon at {daemon.name} was restarted meanwhile: run the command again to go on"
        ) from None
    except CommandFailed as error:
        raise CommandFailed(
            f"{error}; if the daemon has stopped, start it, and run the command again to go on"
        ) from None


def _cancel(daemon: AdminClient, query: Sequence[tuple[str, str]], output: Output) -> None:
    try:
        daemon.read(WarmStatus, "DELETE", "/warm", query)
    except (CommandFailed, NotStored) as error:
        output.note(f"the daemon may go on: {error}")
    else:
        output.note("cancelled; run the command again to go on")


def _results(daemon: AdminClient, ended: WarmStatus, output: Output) -> list[Warmed]:
    reserved = {each.registry: each.reason for each in ended.reserved}
    found: list[Warmed] = []
    query = [("run", str(ended.run)), ("limit", str(_PAGE))]
    after: str | None = None
    while True:
        more = [] if after is None else [("after", after)]
        page = daemon.read(WarmedImages, "GET", "/warm/images", [*query, *more])
        for image in page.images:
            for note in image.notes:
                output.note(f"{image.name}: {note}")
            found.append(_result(image, reserved))
        after = page.next
        if after is None:
            return found


def _result(image: WarmedImage, reserved: dict[str, str]) -> Warmed:
    problem = image.problems[0] if image.problems else None
    if image.state == LEFT:
        # The same sentence for all images of a registry, whatever was left of its limit at each time.
        problem = reserved.get(image.name.partition("/")[0], problem)
    if image.state == CANCELLED:
        problem = _BY_OTHERS
    return Warmed(
        image.name,
        image.state,
        image.digest,
        image.platforms,
        image.manifests,
        image.blobs,
        image.bytes,
        image.fetched,
        problem,
    )


def _not_begun(name: str) -> Warmed:
    return Warmed(name, CANCELLED, None, (), 0, 0, 0, 0, _BY_OTHERS)
