"""The core's side of file parts that a worker sends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

from attrs import define, field

from oci_registry.streams.interfaces import SharedWriter
from oci_registry.web.transports import FileTransport
from oci_registry.workers.messages import Message, pack
from oci_registry.workers.sending import LEAST, pack_part

Send = Callable[..., None]
"""Sends a message, and descriptors with it."""


@define
class Delegations:
    """The file parts that a worker is sending. *send*: sends a message to the worker."""

    _send: Send
    _numbers: count[int] = field(factory=count)
    _running: dict[int, tuple[FileTransport, SharedWriter]] = field(factory=dict)

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, transport: FileTransport, writer: SharedWriter) -> Callable[[], None] | None:
        """Let the worker send the data of a writer, if that is worthwhile; return a function that ends it."""
        part = writer.part()
        if part is None or part.length < LEAST:
            return None
        number = next(self._numbers)
        self._running[number] = transport, writer
        message = pack_part(number, part.offset, part.length)
        self._send(message, transport.fileno(), part.descriptor)
        return partial(self._recall, number)

    def _recall(self, number: int) -> None:
        if self._running.pop(number, None) is not None:
            self._send(pack("unsend", number=number))

    def cut(self) -> None:
        """Have the worker end what must not be sent any more; its report says how much it has sent."""
        # The first message may show that the worker has ended, which clears this.
        for number, (_, writer) in list(self._running.items()):
            if writer.part() is None:
                self._send(pack("cut", number=number))

    def reported(self, message: Message) -> None:
        """Take note that the worker has sent so many bytes, and perhaps all."""
        number = int(message.fields["number"])
        if number not in self._running:
            # It was recalled meanwhile.
            return
        transport, writer = self._running[number]
        writer.wrote_elsewhere(int(message.fields["count"]))
        # The writer may have recalled it.
        if message.fields["last"] and self._running.pop(number, None) is not None:
            transport.returned()

    def abort(self) -> None:
        """Close the connections of a worker that has ended: it is unknown how much it has sent."""
        for transport, _ in list(self._running.values()):
            transport.abortConnection()
        self._running.clear()
