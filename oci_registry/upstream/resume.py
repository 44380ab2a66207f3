"""A blob's body that is resumed over another connection when one breaks."""

from __future__ import annotations

from collections import defaultdict
from typing import TypeVar

from attrs import define, evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure

from oci_registry.spec.errors import BadGateway, RegistryError, TooManyRequests
from oci_registry.streams.body import SLOWEST
from oci_registry.upstream.blob import HttpBlob
from oci_registry.upstream.deadline import pass_on
from oci_registry.upstream.decodings import Decodings
from oci_registry.upstream.errors import CircuitOpen, LocalFailure, TimedOut, WrongAnswer
from oci_registry.upstream.exchange import Exchange
from oci_registry.upstream.group import Answer, HostGroup, pause_after
from oci_registry.upstream.host import Host, Operation
from oci_registry.upstream.operations import Wanted, open_blob
from oci_registry.upstream.relay import Relay
from oci_registry.upstream.requests import Priority, Routing

T = TypeVar("T")

LONGEST_WAIT = 120.0
"""The maximum wait in seconds for hosts that may not be asked yet."""
LONGEST_STALL = 240.0
"""Seconds in total that a body may make no progress; clients give up after 300."""
GOOD_PROGRESS = 256 * 1024
"""Bytes after which a broken connection is replaced at once; after fewer, there is a pause."""
SMALLEST_PART = 512
"""Bytes of a part after which the next is requested at once, if a server sends in parts."""
MAX_USELESS = 2
"""Unusable responses to ranges in a row, after which a host is asked for the whole blob, once."""


class _EndOfPart(BadGateway):
    """A host has sent the whole part that it announced, which is smaller than the requested one."""


class _EndOfUnannounced(BadGateway):
    """A body of unannounced length has ended before the length that a manifest announces."""


@define
class _Sender:
    """What is known of a host: its validator, whether it inflates, and its unusable responses in a row."""

    validator: str | None = None
    inflated: bool | None = None
    useless: int = 0


class ResumingBlob:
    """An `interfaces.UpstreamBlob`, sent over as many connections as needed.

    A break, a stall or a short body costs a new request for the rest (``Range``, with ``If-Range``
    where the host has given a strong validator), to the same or to another host. *retries*: how many
    such requests may fail in a row, with less than `SLOWEST` bytes in total, before the body fails. It
    fails earlier if no host has sent a usable response, to a range or to a request for the whole blob.
    *routing* says which hosts are not asked for it, and which are last. The permit is kept after a
    break: a body that is partly sent does not queue again at that host, and has priority at others over
    blobs that have not begun.

    The length that a host announces counts. One from a manifest is a hint, which may show that a body
    has ended too early.
    """

    def __init__(
        self,
        group: HostGroup,
        wanted: Wanted,
        first: Answer[HttpBlob],
        retries: int,
        decodings: Decodings,
        routing: Routing,
    ) -> None:
        self.size = first.value.head.size
        self._group = group
        self._wanted = wanted
        self._answer = first
        self._retries = retries
        self._relay: Relay | None = None
        self._announced = self.size
        self._decodings = decodings
        self._routing = evolve(routing, patient=False, wait=True, priority=Priority.REST)
        self._senders: defaultdict[str, _Sender] = defaultdict(_Sender)
        self._senders[first.host.name].validator = first.value.head.validator

    @property
    def hosts(self) -> frozenset[str]:
        """Which hosts have sent bytes so far; before the first byte, which one has answered."""
        senders = self._relay.senders if self._relay is not None else ()
        return frozenset(senders or {self._answer.host.name})

    @property
    def _exhausted(self) -> bool:
        """Whether no host can send anything usable: each would send the same again."""
        hosts = (host.name for host in self._group.hosts)
        asked = [host for host in hosts if host not in self._routing.excluded]
        return all(self._senders[host].useless > MAX_USELESS for host in asked)

    def abandon(self) -> None:
        """Cancel the download and close the connection."""
        self._answer.value.abandon()
        self._answer.permit.release()

    def switch_decoding(self) -> bool:
        """The bytes did not match the digest: return whether another download from the same hosts may."""
        possible = [
            self._decodings.switch(self._wanted.digest, host, sender.inflated)
            for host, sender in self._senders.items()
            if sender.inflated is not None
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
        pass_on(running.addCallback(lambda _: relay.position - self._wanted.start), done)
        return done

    def _over(self, result: T, consumer: IConsumer) -> T | Failure:
        self._answer.permit.release()
        consumer.unregisterProducer()
        if isinstance(result, Failure) and isinstance(result.value, CancelledError):
            return Failure(BadGateway(f"{self._wanted.digest}: the download was cancelled"))
        return result

    async def _run(self, relay: Relay) -> None:
        # The first body is no attempt to resume.
        failures, fruitless, progress = -1, 0, relay.position
        while True:
            answer, began = self._answer, relay.position
            error = await self._send(answer, relay)
            if error is None:
                return
            moved = relay.position - began
            failures += 1
            if relay.position - progress >= SLOWEST:
                failures, progress = 0, relay.position
                for sender in self._senders.values():
                    sender.useless = 0
            in_parts = isinstance(error, _EndOfPart) and moved >= SMALLEST_PART
            if not (in_parts or relay.stopped or isinstance(error, _EndOfUnannounced)):
                answer.host.reports.broke(self._wanted.request, relay.position, error)
            fruitless = 0 if moved >= GOOD_PROGRESS or in_parts else fruitless + 1
            # A host that has stalled once may stall as long the next time.
            again = in_parts or (moved >= GOOD_PROGRESS and not isinstance(error, TimedOut))
            last = frozenset() if again else frozenset({answer.host.name})
            if isinstance(error, _EndOfUnannounced):
                if not await self._has_more(relay.position, frozenset({answer.host.name})):
                    return
            else:
                await self._resume(relay, error, last, failures, fruitless)
            if not in_parts:
                self._answer.host.metrics.resumed()

    async def _resume(
        self,
        relay: Relay,
        error: RegistryError,
        last: frozenset[str],
        failures: int,
        fruitless: int,
    ) -> None:
        """Get another body for the rest; raises the last error if another attempt would not help."""
        stalled_since = self._group.clock.seconds()
        while True:
            wait = self._group.wait(self._wanted.request, self._routing.excluded)
            stalled = self._group.clock.seconds() - stalled_since
            too_long = wait > LONGEST_WAIT or stalled + wait > LONGEST_STALL
            if relay.stopped or failures >= self._retries or too_long or self._exhausted:
                raise error
            try:
                await self._group.sleep(max(wait, pause_after(fruitless, self._group.random)))
                await self._reopen(relay.position, last)
            except LocalFailure:
                raise
            except RegistryError as failed:
                fruitless, error = fruitless + 1, failed
                # If no host could be asked, there was no attempt.
                failures += not isinstance(failed, TooManyRequests | CircuitOpen)
            else:
                return

    async def _has_more(self, position: int, last: frozenset[str]) -> bool:
        """Request once what should follow this end, which may be the true one; then the digest decides."""
        try:
            await self._reopen(position, last)
        except LocalFailure:
            raise
        except RegistryError:
            return False
        return self._announced is None or self._announced > position

    async def _send(self, answer: Answer[HttpBlob], relay: Relay) -> RegistryError | None:
        """Send one body; return the reason why it is incomplete, None if it is complete."""
        body, name = answer.value, answer.host.name
        relay.expect(name, body.head.start, body.head.stop)
        began = relay.position
        error: RegistryError | None = None
        try:
            await body.pump(relay)
        except LocalFailure:
            raise
        except RegistryError as failed:
            # This frame is in its traceback, and would refer to it.
            error = failed.with_traceback(None)
        if body.head.encodable and body.inflated is not None:
            self._senders[name].inflated = body.inflated
        if relay.stopped:
            return error or BadGateway(f"{self._wanted.digest}: the download was cancelled")
        end = self._announced if self._wanted.stop is None else self._wanted.stop
        if error is None and body.head.encodable and not body.head.partial:
            # If the length is unexpected, the decoding may have been wrong: the digest decides.
            return None
        if end is not None:
            if relay.position >= end:
                # However it ended.
                return None
            whole_part = body.head.partial and body.head.stop == relay.position
            kind = _EndOfPart if whole_part else BadGateway
            error = error or kind(f"upstream {name} ended the body early")
        elif self._wanted.size is not None:
            if relay.position == self._wanted.size:
                return None
            if relay.position < self._wanted.size and began < relay.position:
                error = error or _EndOfUnannounced(f"upstream {name} ended the body early")
        if error is not None and relay.position == began:
            answer.host.breakers.record_failure(body.endpoint, self._wanted.request, error)
        return error

    async def _reopen(self, position: int, last: frozenset[str]) -> None:
        """Begin a body that holds the byte at *position*, with the permit of the one before or another."""
        routing = evolve(self._routing, last=last | self._routing.last)
        answer = await self._group.ask(
            self._wanted.request,
            lambda host: self._rest(host, position),
            routing,
            held=self._answer,
        )
        if answer.permit is not self._answer.permit:
            self._answer.permit.release()
        self._answer = answer
        if self._announced is None:
            self._announced = answer.value.head.size

    def _rest(self, host: Host, position: int) -> Operation[HttpBlob]:
        """Return the request for a host: the rest, or the whole if it does not support ranges."""
        digest, sender = self._wanted.digest, self._senders[host.name]
        inflate = sender.inflated
        if inflate is None:
            inflate = self._decodings.get(digest, host.name)
        # It may still send the whole blob, which does not help if only a part is wanted.
        ranged = sender.useless % (MAX_USELESS + 1) < MAX_USELESS or self._wanted.start > 0
        # A range counts bytes before they are decoded.
        ranged = ranged and not inflate
        part = Wanted(
            self._wanted.repository,
            digest,
            position if ranged else 0,
            self._wanted.stop if ranged else None,
            self._wanted.size,
        )

        async def operation(exchange: Exchange) -> HttpBlob:
            try:
                body = await open_blob(exchange, part, sender.validator, inflate=inflate)
                self._check(host, body)
            except WrongAnswer:
                sender.useless += 1
                raise
            sender.validator = body.head.validator
            return body

        return operation

    def _check(self, host: Host, body: HttpBlob) -> None:
        """Raise `WrongAnswer`, and close the body, if it is unusable."""
        wrong = None
        if self._wanted.start and not body.head.partial:
            wrong = f"upstream {host.name} does not support ranges for {self._wanted.digest}"
        elif None not in (body.head.size, self._announced) and body.head.size != self._announced:
            wrong = (
                f"upstream {host.name} announces {body.head.size} bytes for "
                f"{self._wanted.digest}, not {self._announced}"
            )
        if wrong is not None:
            body.abandon()
            raise WrongAnswer(wrong)
