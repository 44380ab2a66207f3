"""One pass over a store: every blob and every record is read once and compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import evolve, frozen

from oci_registry.scrub.checks import Checked, Checker
from oci_registry.scrub.healing import Healing
from oci_registry.scrub.nouns import Counts, Fault, Outcome, Progress, Report, Subject
from oci_registry.scrub.pace import Pace
from oci_registry.storage.interfaces import IDriver, StoreError
from oci_registry.storage.keys import BLOBS, REPOSITORIES

Save = Callable[[Progress], Awaitable[object]]
"""Stores the progress."""


@frozen
class PassLimits:
    """*saving*: seconds after which the progress is stored. *fetched*: objects that are fetched again at most.

    *unreadable*: how many objects in a row may be unreadable before the store itself counts as broken.
    """

    saving: float = 30.0
    fetched: int = 1000
    unreadable: int = 3


class StoreBroken(StoreError):
    """Several objects in a row cannot be read: nothing is done about them."""


class Pass:
    """Goes over the blobs and records of a store in the order of their keys.

    *now*: the time in seconds since the epoch. *save*: is called from time to time, and at the end,
    whatever the end is. `progress` is valid between two steps.
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
        self._driver = driver
        self._checker = checker
        self._healing = healing
        self._report = report
        self._now = now
        self._save = save
        self._limits = limits
        self._unreadable: list[Checked] = []
        self._fetched = 0

    async def run(self, pace: Pace) -> Progress:
        """Go on until all is checked. Raises `StoreError`; a later pass then goes on from there."""
        try:
            for prefix in (BLOBS, REPOSITORIES):
                # The keys of one prefix all come before those of the next.
                after = self.progress.after if self.progress.after > prefix else ""
                if after and not after.startswith(f"{prefix}/"):
                    continue
                async for info in self._driver.list_from(prefix, after):
                    subject = Subject.at(info.key)
                    if subject is not None:
                        await self._check(subject, pace)
            if self._unreadable:
                await self._driver.check()
                await self._heal_unreadable()
            self.progress = evolve(self.progress, ended=self._now())
        finally:
            for checked in self._unreadable:
                checked.inspected.close()
            # Anyone may go on with it at once.
            self.progress = evolve(self.progress, updated=self._now(), owner="")
            await self._save(self.progress)
        return self.progress

    async def _check(self, subject: Subject, pace: Pace) -> None:
        checked = await self._checker.check(subject, pace.spend)
        if checked is None:
            return
        if checked.unreadable:
            # The disk may be failing as a whole: only an object that can be read shows that it is not.
            self._unreadable.append(checked)
            if len(self._unreadable) >= self._limits.unreadable:
                raise StoreBroken(
                    f"{len(self._unreadable)} objects in a row cannot be read, the last one "
                    f"{subject}: {checked.reason}"
                )
            return
        try:
            await self._heal_unreadable()
            self._report.checked(subject.kind, checked.info.size)
            self._count(objects=1, blobs=int(subject.kind.value == "blob"), size=checked.info.size)
            if checked.reason is not None:
                await self._heal(checked)
            elif await self._healing.is_dangling(checked):
                self._count(dangling=1)
        finally:
            checked.inspected.close()
        self.progress = evolve(self.progress, after=subject.key)
        if self._now() - self.progress.updated >= self._limits.saving:
            self.progress = evolve(self.progress, updated=self._now())
            await self._save(self.progress)

    async def _heal_unreadable(self) -> None:
        while self._unreadable:
            await self._heal(self._unreadable[0])
            self._unreadable.pop(0).inspected.close()

    async def _heal(self, checked: Checked) -> None:
        fault = await self._healing.heal(checked, fetch=self._fetched < self._limits.fetched)
        if fault.outcome is Outcome.REPLACED:
            # What is there now is new, and was verified when it was stored.
            return
        self._fetched += fault.restored
        self._count_fault(fault)
        self._report.found(fault)

    def _count_fault(self, fault: Fault) -> None:
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
    """Return the progress of a pass that begins."""
    return Progress(now, now, owner, counts=Counts())
