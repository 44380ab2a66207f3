"""``oci-registry scrub``: checks all stored objects, and takes corrupt ones out of service."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from attrs import define, field
from twisted.internet.defer import Deferred

from oci_registry.commands.options import CommandParser, DaemonParser
from oci_registry.commands.output import NoProgress, Output, counted
from oci_registry.commands.problems import CORRUPT, DONE, FAILED, CommandFailed, UsageProblem
from oci_registry.commands.running import at_once, each, now
from oci_registry.commands.scrub_daemon import count_lines, scrub_by_daemon
from oci_registry.commands.sources import read_options
from oci_registry.commands.store import CommandStore, Exclusive, readable
from oci_registry.config.settings import DEFAULT_SCRUB_RATE
from oci_registry.management.notices import Notices
from oci_registry.scrub.checks import Checker
from oci_registry.scrub.healing import Healing, Stores
from oci_registry.scrub.nouns import Fault, Kind, Outcome, Progress
from oci_registry.scrub.one_pass import Pass, began_now
from oci_registry.scrub.pace import Pace, blocking
from oci_registry.scrub.quarantine import Quarantine
from oci_registry.scrub.record import Record
from oci_registry.scrub.report import sentence
from oci_registry.spec.sizes import Size, parse_rate
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import BLOBS, REPOSITORIES
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagStore
from oci_registry.streams.parsing import ManifestReader

OWNER = "command"
_STATUSES = "0 nothing is corrupt, 1 the check could not be finished, 3 something was corrupt"


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "scrub",
        "Read all that is stored and compare it with its digests. What is corrupt is moved to the "
        "quarantine of the store, so that the next pull fetches it again. A check that was interrupted "
        "goes on where it was. If a daemon runs on the store, it does this itself, and the command waits "
        "for the end.",
        _STATUSES,
    )
    made.add_argument(
        "--rate",
        metavar="SIZE",
        help="bytes per second to read, as in 20MB; 0: as fast as possible (default: that of the daemon; "
        "on a store without one SCRUB_RATE, or 20MB)",
    )
    fate = made.add_mutually_exclusive_group()
    fate.add_argument(
        "--quarantine",
        action="store_true",
        help="move what is corrupt to the quarantine, up to 100 objects and 1 GiB (the default)",
    )
    fate.add_argument(
        "--remove", action="store_true", help="remove what is corrupt, and keep no copy of it"
    )
    made.add_argument(
        "--restart", action="store_true", help="begin anew, even if a check was interrupted"
    )
    made.add_argument(
        "--no-wait", action="store_true", help="do not wait for a running daemon to end the check"
    )
    return made


@define
class _Printed:
    """Prints findings, and shows the progress."""

    output: Output
    faults: list[Fault] = field(factory=list)
    whole: bool = True

    def checked(self, kind: Kind, size: int) -> None:
        """Show the progress."""
        self.output.progress.advance(size)

    def found(self, fault: Fault) -> None:
        """Print a corrupt object."""
        self.faults.append(fault)
        self.output.problem(sentence(fault))

    def incomplete(self, problem: str) -> None:
        """Print why not everything was checked."""
        self.whole = False
        self.output.problem(f"not everything was checked: {problem}")


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    options, given = asked.options, _rate(asked.options.rate)
    daemon = asked.daemon()
    if daemon is not None:
        if options.remove or options.restart:
            raise UsageProblem(
                f"{'--remove' if options.remove else '--restart'} is for a store on which no daemon runs"
            )
        return scrub_by_daemon(daemon, given, output, wait=not options.no_wait)
    if options.no_wait:
        raise UsageProblem("--no-wait is for a running daemon, and none runs on this store")
    rate = given or _rate(environ.get("SCRUB_RATE", "").strip()) or DEFAULT_SCRUB_RATE
    storage = asked.common.storage
    readable(storage)
    with Exclusive(storage) as store:
        return _scrub(store, rate, output, remove=options.remove, anew=options.restart)


def _rate(text: str | None) -> Size | None:
    try:
        return parse_rate(text) if text else None
    except ValueError as error:
        raise UsageProblem(f"--rate: {error}") from None


def _scrub(store: CommandStore, rate: Size, output: Output, *, remove: bool, anew: bool) -> int:
    driver, seconds = store.driver, store.clock.seconds
    record = Record(driver)
    known = None if anew else now(record.load())
    if known is None or known.ended:
        progress = began_now(seconds(), OWNER)
    else:
        progress = known
        output.note(f"going on after {counted(known.counts.objects, 'object')}")
    printed = _Printed(output)
    reader = ManifestReader(at_once)
    stores = Stores(
        driver,
        BlobStore(driver, store.usage, at_once, check_always=False),
        ManifestStore(driver, store.usage, reader),
        TagStore(driver),
        ReferrersStore(driver, store.usage),
    )
    # A bucket has no lock: daemons on it go on.
    local = isinstance(store.medium, FilesystemDriver)
    announce = None if local else Notices(driver).announce
    healing = Healing(stores, None if remove else Quarantine(driver), announce=announce)
    checker = Checker(driver, at_once, reader, seconds)

    def save(progress: Progress) -> Deferred[None]:
        return Deferred.fromCoroutine(record.save(progress))

    whole = Pass(driver, checker, healing, printed, seconds, save, progress)
    if not isinstance(output.progress, NoProgress):
        with suppress(StoreError):
            output.progress.begin("scrub", _size(store, progress.after))
    try:
        now(whole.run(Pace(rate.bytes, seconds, blocking(time.sleep))))
    except StoreError as error:
        raise CommandFailed(
            f"{error}: the check is not finished; run the command again to go on"
        ) from None
    finally:
        output.progress.end()
    status = _finish(whole.progress, printed.faults, output)
    return status if printed.whole else FAILED


def _size(store: CommandStore, after: str) -> int:
    """Return how many bytes remain to be checked."""
    return sum(
        info.size
        for prefix in (BLOBS, REPOSITORIES)
        for info in each(store.driver.list(prefix))
        if info.key > after
    )


def _finish(progress: Progress, faults: Sequence[Fault], output: Output) -> int:
    counts = progress.counts
    for line in count_lines(
        counts.objects,
        counts.size,
        counts.found,
        counts.quarantined,
        counts.removed,
        counts.dangling,
    ):
        output.line(line)
    output.finish(
        {
            "objects": counts.objects,
            "blobs": counts.blobs,
            "bytes": counts.size,
            "corrupt": counts.found,
            "quarantined": counts.quarantined,
            "removed": counts.removed,
            "dangling_tags": counts.dangling,
            "found": [_described(fault) for fault in faults],
        }
    )
    if any(fault.outcome is Outcome.LEFT for fault in faults):
        return FAILED
    return CORRUPT if counts.found else DONE


def _described(fault: Fault) -> dict[str, object]:
    subject = fault.subject
    return {
        "key": subject.key,
        "kind": subject.kind.value,
        "digest": None if subject.digest is None else str(subject.digest),
        "bytes": fault.size,
        "reason": fault.reason,
        "outcome": fault.outcome.name.lower(),
        "problem": fault.problem,
    }
