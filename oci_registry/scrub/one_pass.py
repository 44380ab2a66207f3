"""One pass over a store: every blob and every record is read once and compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from attrs import evolve, frozen

from oci_registry.scrub.checks import Checked, Checker
from oci_registry.scrub.healing import Healing
from oci_registry.scrub.nouns import Counts, Fault, Outcome, Progress, Report, Subject
from oci_registry.scrub.pace import Pace
from oci_registry.storage.interfaces import IDriver, ListingIncomplete, StoreError
from oci_registry.storage.keys import BLOBS, REPOSITORIES

Save = Callable[[Progress], Awaitable[object]]
"""Stores the progress."""


@frozen
class PassLimits:
    """Limits of a pass. *saving*: seconds after which the progress is stored. *fetched*: the most
    refetched objects.

    *unreadable*: after this many unreadable objects in a row, others are read to see whether the store
    works at all. *probed*: how many of these, of at most *probe* bytes each.
    """

    saving: float = 30.0
    fetched: int = 1000
    unreadable: int = 3
    probed: int = 20
    probe: int = 16 * 1024 * 1024


class StoreBroken(StoreError):
    """Several objects in a row cannot be read, and neither can others: nothing is done about them."""


class Pass:
    """Goes over the blobs and records of a store in the order of their keys.

    *now*: the time in seconds since the epoch. *save*: is called periodically, and at the end, even
    after an error. `progress` is valid between two steps; `problem`: why not everything was checked.
    """

    def __init__(
        self,
        driver: IDriver,
        checker: Checker,
        healing: Healing,
        report: Report,
        now: Callable[[], float],
        save: Save,
        progress: Progress,
        limits: PassLimits = PassLimits(),
    ) -> None:
        self.progress = progress
        self.problem: str | None = None
        self._driver = driver
        self._checker = checker
        self._healing = healing
        self._report = report
        self._now = now
        self._save = save
        self._limits = limits
        self._unreadable: list[Checked] = []
        self._many = False
        self._readable: Subject | None = None
        self._fetched = 0

    async def run(self, pace: Pace) -> Progress:
        """Check all remaining objects. Raises `StoreError`; a later pass then continues from there."""
        try:
            for prefix in (BLOBS, REPOSITORIES):
                # All keys of one prefix come before those of the next.
                after = self.progress.after if self.progress.after > prefix else ""
                if after and not after.startswith(f"{prefix}/"):
                    continue
                try:
                    async for info in self._driver.list_from(prefix, after):
                        subject = Subject.at(info.key)
                        if subject is not None:
                            await self._check(subject, pace)
                except ListingIncomplete as error:
                    self.problem = str(error)
                    self._report.incomplete(self.problem)
            if self._unreadable:
                await self._driver.check()
                await self._settle(pace)
            self.progress = evolve(self.progress, ended=self._now())
        finally:
            for checked in self._unreadable:
                checked.inspected.close()
            # Any process may continue it at once.
            self.progress = evolve(self.progress, updated=self._now(), owner="")
            await self._save(self.progress)
        return self.progress

    async def _check(self, subject: Subject, pace: Pace) -> None:
        checked = await self._checker.check(subject, pace.spend)
        if checked is None:
            return
        if checked.unreadable:
            # The whole disk may be failing: only a readable object shows that it is not.
            self._unreadable.append(checked)
            if len(self._unreadable) < self._limits.unreadable:
                return
            if not await self._works(subject, pace):
                raise StoreBroken(
                    f"{len(self._unreadable)} objects in a row cannot be read, the last one "
                    f"{subject}: {checked.reason}"
                )
            self._many = True
            await self._settle(pace)
        else:
            try:
                await self._settle(pace)
                await self._take(checked, pace)
            finally:
                checked.inspected.close()
            self._many = False
            if checked.reason is None and checked.info.size <= self._limits.probe:
                self._readable = subject
        self.progress = evolve(self.progress, after=subject.key)
        if self._now() - self.progress.updated >= self._limits.saving:
            self.progress = evolve(self.progress, updated=self._now())
            await self._save(self.progress)

    async def _works(self, subject: Subject, pace: Pace) -> bool:
        """Whether the store can be read, except for some objects; *subject*: the last of these."""
        await self._driver.check_reading()
        if self._readable is not None and await self._reads(self._readable, pace):
            return True
        left = self._limits.probed
        with suppress(ListingIncomplete):
            async for info in self._driver.list_from(subject.key.partition("/")[0], subject.key):
                other = Subject.at(info.key)
                if other is not None and info.size <= self._limits.probe:
                    if await self._reads(other, pace):
                        return True
                    left -= 1
                if left <= 0:
                    break
        return False

    async def _reads(self, subject: Subject, pace: Pace) -> bool:
        checked = await self._checker.check(subject, pace.spend)
        if checked is not None:
            checked.inspected.close()
        return checked is not None and not checked.unreadable

    async def _settle(self, pace: Pace) -> None:
        """Check the unreadable objects again, and handle those that are still unreadable."""
        while self._unreadable:
            first = self._unreadable[0]
            again = await self._checker.check(first.subject, pace.spend)
            if again is not None:
                try:
                    if not again.unreadable:
                        await self._take(again, pace)
                    elif self._many:
                        problem = "others beside it cannot be read either"
                        self._note(await self._healing.leave(first, problem))
                    else:
                        # It is moved only if it is the same file that was unreadable before.
                        await self._heal(first)
                finally:
                    again.inspected.close()
            self._unreadable.pop(0).inspected.close()

    async def _take(self, checked: Checked, pace: Pace) -> None:
        """Count an object that was read, and handle it if it is corrupt."""
        subject, size = checked.subject, checked.info.size
        self._report.checked(subject.kind, size)
        self._count(objects=1, blobs=int(subject.kind.value == "blob"), size=size)
        if checked.reason is None:
            if await self._healing.is_dangling(checked):
                self._count(dangling=1)
        elif not await self._heal(checked):
            # The object at the key now is new, or only its times have changed.
            again = await self._checker.check(subject, pace.spend)
            if again is not None:
                try:
                    if again.reason is not None and not again.unreadable:
                        await self._heal(again)
                finally:
                    again.inspected.close()

    async def _heal(self, checked: Checked) -> bool:
        """Handle a corrupt object; return False if it has been replaced or changed meanwhile."""
        fault = await self._healing.heal(checked, fetch=self._fetched < self._limits.fetched)
        if fault.outcome is Outcome.REPLACED:
            return False
        self._note(fault)
        return True

    def _note(self, fault: Fault) -> None:
        self._fetched += fault.restored
        self._report.found(fault)
        self._count(
            found=1,
            quarantined=int(fault.outcome is Outcome.QUARANTINED),
            removed=int(fault.outcome is Outcome.REMOVED),
            restored=int(fault.restored),
        )

    def _count(self, **more: int) -> None:
        counts = self.progress.counts
        changed = {name: getattr(counts, name) + number for name, number in more.items()}
        self.progress = evolve(self.progress, counts=evolve(counts, **changed))


def began_now(now: float, owner: str) -> Progress:
    """Return the progress of a new pass."""
    return Progress(now, now, owner, counts=Counts())
