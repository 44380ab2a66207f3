"""A blob's body that outlives its connections: where one breaks, another goes on."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, RegistryError, TooManyRequests, Unavailable
from oci_registry.streams.body import SLOWEST
from oci_registry.upstream.blob import HttpBlob
from oci_registry.upstream.failures import TimedOut, WrongAnswer
from oci_registry.upstream.group import Answer, HostGroup, pause_after
from oci_registry.upstream.host import Host
from oci_registry.upstream.readings import Readings
from oci_registry.upstream.relay import Relay
from oci_registry.upstream.slots import Turn

T = TypeVar("T")

LONGEST_WAIT = 120.0
"""Seconds that a body waits for hosts that must not be asked before."""
LONGEST_STANDSTILL = 240.0
"""Seconds that a body may stand still altogether; clients give up after 300."""
AMPLE = 256 * 1024
"""Bytes after which a broken connection is replaced at once; for less there are pauses."""
ODD = 2
"""Useless answers of a host to a range, in a row, after which it is asked for the whole, once."""


@frozen
class Wanted:
    """Bytes of a blob, from *start* up to *stop*, or to its end; *size*: of the whole, if it is known."""

    repository: str
    digest: Digest
    start: int = 0
    stop: int | None = None
    size: int | None = None


class ResumingBlob:
    """An `interfaces.UpstreamBlob`, sent by as many connections as it takes.

    A break, a stall or a short body costs a new request for the rest (``Range``, with ``If-Range``
    where the host has given a strong validator), to the same or to another host. *retries*: how many
    such requests may fail in a row, with less than `SLOWEST` bytes together, before the body fails. It
    fails earlier where every host has sent nothing of use, be it to a range or to the request for the
    whole. The hosts *avoiding* are not asked for it, those in *doubtful* last. The slot is kept over a
    break: who is half served does not queue again at that host, and at others goes before those who
    have nothing yet.
    """

    _log = Logger()

    def __init__(
        self,
        group: HostGroup,
        wanted: Wanted,
        first: Answer[HttpBlob],
        retries: int,
        readings: Readings,
        avoiding: frozenset[str] = frozenset(),
        doubtful: frozenset[str] = frozenset(),
    ) -> None:
        self.size = first.value.size
        self._group = group
        self._wanted = wanted
        self._answer = first
        self._retries = retries
        self._relay: Relay | None = None
        self._known_size = wanted.size if self.size is None else self.size
        self._validators: dict[str, str | None] = {first.host.name: first.value.validator}
        self._readings = readings
        self._inflated: dict[str, bool] = {}
        self._odd: Counter[str] = Counter()
        self._avoiding = avoiding
        self._doubtful = doubtful

    @property
    def hosts(self) -> frozenset[str]:
        """Which hosts have sent bytes so far; before the first byte, which one has answered."""
        senders = self._relay.senders if self._relay is not None else ()
        return frozenset(senders or {self._answer.host.name})

    @property
    def _in_vain(self) -> bool:
        """Whether no host has anything of use: each would send the same again."""
        hosts = (host.name for host in self._group.hosts if host.name not in self._avoiding)
        return all(self._odd[host] > ODD for host in hosts)

    def abandon(self) -> None:
        """The body is not wanted: close the connection."""
        self._answer.value.abandon()
        self._answer.slot.release()

    def try_other_way(self) -> bool:
        """Its bytes were wrong: return whether the same hosts' may be right the next time."""
        possible = [
            self._readings.other_way(self._wanted.digest, host, inflated)
            for host, inflated in self._inflated.items()
        ]
        return any(possible)

    def pump(self, consumer: IConsumer) -> Deferred[int]:
        """Write the body to *consumer*, at its pace; return the number of bytes."""
        relay = self._relay = Relay(consumer, self._wanted.start, self._wanted.stop)
        done: Deferred[int] = Deferred(lambda _: relay.stopProducing())
        consumer.registerProducer(relay, True)
        running = Deferred.fromCoroutine(self._run(relay))
        relay.begin(running)
        running.addBoth(self._over, consumer)
        running.addCallback(lambda _: relay.position - self._wanted.start).chainDeferred(done)
        return done

    def _over(self, result: T, consumer: IConsumer) -> T | Failure:
        self._answer.slot.release()
        consumer.unregisterProducer()
        if isinstance(result, Failure) and isinstance(result.value, CancelledError):
            return Failure(BadGateway(f"{self._wanted.digest}: the download was given up"))
        return result

    async def _run(self, relay: Relay) -> None:
        # The first body is no attempt to go on.
        failures, hasty, progress = -1, 0, relay.position
        while True:
            answer, began = self._answer, relay.position
            error = await self._send(answer, relay)
            if error is None:
                return
            moved = relay.position - began
            failures += 1
            if relay.position - progress >= SLOWEST:
                failures, progress = 0, relay.position
                self._odd.clear()
            hasty = 0 if moved >= AMPLE else hasty + 1
            stood_since = self._group.clock.seconds()
            # Whoever has let the body stand still once costs its readers as long the next time.
            again = moved >= AMPLE and not isinstance(error, TimedOut)
            last = frozenset() if again else frozenset({answer.host.name})
            while True:
                wait = self._group.wait(Turn.REST, self._avoiding)
                stood = self._group.clock.seconds() - stood_since
                too_long = wait > LONGEST_WAIT or stood + wait > LONGEST_STANDSTILL
                done_for = failures >= self._retries or too_long or self._in_vain
                if relay.stopped or done_for:
                    raise error
                try:
                    await self._group.sleep(max(wait, pause_after(hasty, self._group.random)))
                    await self._reopen(relay.position, last)
                    break
                except RegistryError as failed:
                    hasty, error = hasty + 1, failed
                    # Where nobody could be asked there was no attempt.
                    failures += not isinstance(failed, TooManyRequests | Unavailable)
            host = self._answer.host
            host.metrics.resumed()
            self._log.info(
                "{digest} goes on at {position} from {host}: {error}",
                digest=str(self._wanted.digest),
                position=relay.position,
                host=host.name,
                error=error.message,
            )

    async def _send(self, answer: Answer[HttpBlob], relay: Relay) -> RegistryError | None:
        """Let one body be sent; return why it is not all that was wanted, None if it is."""
        relay.expect(answer.host.name, answer.value.start, answer.value.stop)
        began = relay.position
        error: RegistryError | None = None
        try:
            await answer.value.pump(relay)
        except RegistryError as failed:
            error = failed
        if answer.value.encodable and answer.value.inflated is not None:
            self._inflated[answer.host.name] = answer.value.inflated
        stop = self._wanted.stop if self._wanted.stop is not None else self._known_size
        if stop is not None and not relay.stopped:
            if relay.position >= stop:
                # However it ended.
                return None
            if error is None and answer.value.encodable:
                # What has an unexpected length may have been read the wrong way: the digest will tell.
                return None
            error = error or BadGateway(f"upstream {answer.host.name} ended a body before its end")
        if error is not None and relay.position == began and not relay.stopped:
            answer.host.health.failed(Turn.REST, error, slow=isinstance(error, TimedOut))
        return error

    async def _reopen(self, position: int, last: frozenset[str]) -> None:
        """Begin a body that holds the byte at *position*, with the slot of the one before or another."""

        async def question(host: Host, within: float) -> HttpBlob:
            try:
                body = await self._ask(host, position, within)
            except WrongAnswer:
                self._odd[host.name] += 1
                raise
            self._validators[host.name] = body.validator
            return body

        answer = await self._group.ask(
            Turn.REST,
            self._wanted.repository,
            question,
            patient=False,
            avoiding=self._avoiding,
            finds_out=True,
            last=last | self._doubtful,
            held=self._answer,
        )
        if answer.slot is not self._answer.slot:
            self._answer.slot.release()
        self._answer = answer
        if self._known_size is None:
            self._known_size = answer.value.size

    async def _ask(self, host: Host, position: int, within: float) -> HttpBlob:
        """Ask a host for the rest; raises `WrongAnswer` for a body that is of no use here."""
        # It may still know how to send the whole, which is of no use where only a part is wanted.
        ranged = self._odd[host.name] % (ODD + 1) < ODD or self._wanted.start > 0
        inflate = self._inflated.get(host.name)
        if inflate is None:
            inflate = self._readings.of(self._wanted.digest, host.name)
        # A range is one of the bytes as they are sent.
        ranged = ranged and not inflate
        body = await host.client.blob(
            self._wanted.repository,
            self._wanted.digest,
            position if ranged else 0,
            self._wanted.stop if ranged else None,
            self._validators.get(host.name),
            within,
            size=self._wanted.size,
            inflate=inflate,
        )
        wrong = self._unfit(host, body)
        if wrong is not None:
            body.abandon()
            raise wrong
        return body

    def _unfit(self, host: Host, body: HttpBlob) -> WrongAnswer | None:
        """Return why a body is of no use."""
        if self._wanted.start and not body.partial:
            return WrongAnswer(f"upstream {host.name} sends {self._wanted.digest} as a whole only")
        if None not in (body.size, self._known_size) and body.size != self._known_size:
            return WrongAnswer(
                f"upstream {host.name} says that {self._wanted.digest} has {body.size} bytes "
                f"and not {self._known_size}"
            )
        return None
