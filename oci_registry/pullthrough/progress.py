"""Downloads in the log: a line for each that ends, and now and then one for each that takes long."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import Factory, define, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

from oci_registry.events import EventLog
from oci_registry.pullthrough.transfer import Phase, Transfer
from oci_registry.repeats import Group, RepeatLog, without_names
from oci_registry.spec.errors import BlobUnknown
from oci_registry.spec.units import in_bytes, in_seconds


@frozen
class ProgressLimits:
    """When progress is logged.

    *first*: seconds after which a download takes long, and between two looks at all of them. *every*:
    seconds between two lines about one. *most*: if more than so many take long, there is one line
    about all of them in their place.
    """

    first: float = 10.0
    every: float = 30.0
    most: int = 10


@define(eq=False)
class _Watched:
    """A download under way: when it was reported last, and how much had been received then."""

    began: float
    reported: float
    received: int = 0
    due: float = 0.0


@define
class _Total:
    """All downloads that take long: when they were reported last."""

    reported: float = 0.0
    received: dict[Transfer, int] = Factory(dict)


class DownloadLog:
    """Logs how each download ends, in one line, and the progress of long ones.

    *repeats*: failures with the same reason are logged once, and then counted. *events*: where each
    download is an event when it begins and when it ends.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        repeats: RepeatLog,
        limits: ProgressLimits = ProgressLimits(),
        events: EventLog | None = None,
    ) -> None:
        self._clock = clock
        self._events = events
        self._repeats = repeats
        self._limits = limits
        self._running: dict[Transfer, _Watched] = {}
        self._total = _Total()
        self._timer: IDelayedCall | None = None

    def begin(self, transfer: Transfer) -> None:
        """A download begins."""
        now = self._clock.seconds()
        self._running[transfer] = _Watched(now, now, due=now + self._limits.first)
        self._record(transfer, "begun")
        if self._timer is None:
            self._timer = self._clock.callLater(self._limits.first, self._look)

    def end(self, transfer: Transfer) -> None:
        """Remove a download. Idempotent."""
        self._running.pop(transfer, None)
        self._total.received.pop(transfer, None)
        if not self._running and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # How a download ends

    def stored(self, transfer: Transfer) -> None:
        """A blob is in the store now."""
        self._done(transfer, "stored", "")

    def served(self, transfer: Transfer) -> None:
        """Its clients have a blob, but the store does not."""
        self._done(transfer, "served", f" (not stored: {transfer.not_stored})")

    def answered(self, transfer: Transfer, error: Exception) -> None:
        """There was no download, but no failure: for example, the registry does not have the blob."""
        self._record(transfer, "not downloaded", error=_text(transfer, error))
        self._log.emit(
            LogLevel.debug if isinstance(error, BlobUnknown) else LogLevel.info,
            "not downloaded: {digest} from {upstream}/{repository}: {error}",
            **_fields(transfer),
            error=_text(transfer, error),
        )

    def failed(self, transfer: Transfer, error: Exception) -> None:
        """A download has failed, for all of its clients.

        Until a registry sends something, failures differ by their reason alone, and not by the blob.
        """
        text = _text(transfer, error)
        self._record(transfer, "failed", error=text)
        received = 0 if transfer.blob is None else transfer.blob.received
        after = f" after {in_bytes(received)}" if received else ""
        names = transfer.wanted.target.repository, str(transfer.wanted.digest)
        subject = str(transfer.wanted.digest) if received else ""
        self._warn(
            transfer,
            (subject, without_names(text, *names)),
            "failed: {digest} from {upstream}/{repository}{after} in {seconds}: {error}",
            after=after,
            seconds=in_seconds(self._seconds(transfer)),
            error=text,
        )

    def wrong(self, transfer: Transfer, error: Exception, hosts: Iterable[str]) -> None:
        """These hosts have sent bytes that do not match the digest; others may be asked."""
        senders = ", ".join(sorted(hosts))
        self._warn(
            transfer,
            ("wrong", senders, str(transfer.wanted.digest)),
            "wrong bytes: {digest} from {upstream}/{repository}, sent by {hosts}: {error}",
            hosts=senders,
            error=_text(transfer, error),
        )

    def _warn(
        self, transfer: Transfer, reason: tuple[str, ...], text: str, **fields: object
    ) -> None:
        upstream = transfer.wanted.target.upstream
        group = Group.of(upstream.namespace, "downloads", configured=upstream.settings.configured)
        reason = (upstream.namespace, *reason)
        self._repeats.warn(group, reason, text, **_fields(transfer), **fields)

    def _record(self, transfer: Transfer, phase: str, error: str | None = None) -> None:
        if self._events is None:
            return
        blob, more = transfer.blob, {} if error is None else {"error": error}
        self._events.record(
            "download",
            phase=phase,
            **_fields(transfer),
            size=transfer.wanted.hint if blob is None or blob.size is None else blob.size,
            received=0 if blob is None else blob.received,
            seconds=round(self._seconds(transfer), 3),
            clients=transfer.clients,
            **more,
        )

    def _done(self, transfer: Transfer, what: str, rest: str) -> None:
        self._record(transfer, what)
        received = 0 if transfer.blob is None else transfer.blob.received
        clients = max(transfer.clients, 0 if transfer.wanted.ahead else 1)
        people = {0: "no client yet", 1: "1 client"}.get(clients, f"{clients} clients")
        self._log.info(
            "{what} {digest} {size} from {upstream}/{repository} in {seconds}, {people}{rest}",
            what=what,
            **_fields(transfer),
            size=in_bytes(received),
            received=received,
            seconds=in_seconds(self._seconds(transfer)),
            people=people,
            clients=clients,
            rest=rest,
        )

    def _seconds(self, transfer: Transfer) -> float:
        watched = self._running.get(transfer)
        return 0.0 if watched is None else self._clock.seconds() - watched.began

    # Those that take long

    def _look(self) -> None:
        """Report downloads that are due, and check again later."""
        self._timer = self._clock.callLater(self._limits.first, self._look)
        now = self._clock.seconds()
        long = [t for t, w in self._running.items() if now - w.began >= self._limits.first]
        if len(long) > self._limits.most:
            if now - self._total.reported >= self._limits.every:
                self._report_all(long, now)
            return
        for transfer in long:
            watched = self._running[transfer]
            if now >= watched.due:
                self._report(transfer, watched, now)

    def _report(self, transfer: Transfer, watched: _Watched, now: float) -> None:
        received = 0 if transfer.blob is None else transfer.blob.received
        rate = max(received - watched.received, 0) / (now - watched.reported)
        watched.reported, watched.received = now, received
        watched.due = now + self._limits.every
        self._log.info(
            "downloading {digest} from {upstream}/{repository}: {progress}",
            **_fields(transfer),
            progress=_progress(transfer, received, rate),
            received=received,
        )

    def _report_all(self, long: list[Transfer], now: float) -> None:
        received = {t: 0 if t.blob is None else t.blob.received for t in long}
        before = self._total.received
        # The first time the beginning of each counts.
        since = self._total.reported or min(self._running[t].began for t in long)
        new = sum(max(count - before.get(t, 0), 0) for t, count in received.items())
        self._total = _Total(now, received)
        for transfer in long:
            watched = self._running[transfer]
            watched.reported, watched.received = now, received[transfer]
            watched.due = now + self._limits.every
        self._log.info(
            "{count} downloads take longer than {first:g} s: {size} so far, {rate}/s together",
            count=len(long),
            first=self._limits.first,
            size=in_bytes(sum(received.values())),
            rate=in_bytes(new / max(now - since, 1.0)),
        )


def _fields(transfer: Transfer) -> dict[str, str]:
    wanted = transfer.wanted
    return {
        "digest": str(wanted.digest),
        "upstream": wanted.target.upstream.namespace,
        "repository": wanted.target.repository,
    }


def _text(transfer: Transfer, error: Exception) -> str:
    """Return the text of an error without the digest at its beginning, which the line has already."""
    return str(error).removeprefix(f"{transfer.wanted.digest}: ")


def _progress(transfer: Transfer, received: int, rate: float) -> str:
    if transfer.phase is Phase.ASKING:
        return "the registry has not sent anything yet"
    if transfer.phase is Phase.COMMITTING:
        return f"{in_bytes(received)} received, being stored"
    size = transfer.wanted.hint
    if transfer.blob is not None and transfer.blob.size is not None:
        size = transfer.blob.size
    if not size:
        return f"{in_bytes(received)}, {in_bytes(rate)}/s"
    percent = min(100 * received // size, 100)
    return f"{in_bytes(received)} of {in_bytes(size)} ({percent} %), {in_bytes(rate)}/s"
