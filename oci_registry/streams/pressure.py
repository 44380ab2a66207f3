"""Back pressure on a push producer: it is paused while too many of its bytes wait."""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import IProducer, IPushProducer


class BackPressure:
    """Holds the producer of a consumer; pauses it above *high* waiting bytes, resumes it at *low*.

    *low* is half of *high* if it is not given. A producer is paused and resumed alternately, beginning
    with a pause, and stopped at most once. One that is registered while it should be paused is paused
    at once, and one that is registered after `stop` is stopped.
    """

    def __init__(self, high: int, low: int | None = None) -> None:
        self.paused = False
        """Whether a producer must be paused, if there is one."""
        self.stopped = False
        self._producer: IPushProducer | None = None
        self.set_marks(high, low)

    def set_marks(self, high: int, low: int | None = None) -> None:
        """Change how many bytes may wait, from the next `update` on."""
        self._high = high
        self._low = high // 2 if low is None else low

    @property
    def registered(self) -> bool:
        """Whether there is a producer."""
        return self._producer is not None

    def register(self, producer: IProducer) -> None:
        """Take a push producer in the place of the one before."""
        if self.stopped:
            producer.stopProducing()
            return
        self._producer = cast(IPushProducer, producer)
        if self.paused:
            self._producer.pauseProducing()

    def unregister(self) -> None:
        """The producer has ended. Idempotent."""
        self._producer = None

    def update(self, waiting: int) -> None:
        """Pause or resume the producer now that *waiting* bytes wait."""
        if waiting > self._high:
            self.pause()
        elif waiting <= self._low:
            self.resume()

    def pause(self) -> None:
        """Pause the producer, if it is not paused already."""
        if not self.paused:
            self.paused = True
            if self._producer is not None:
                self._producer.pauseProducing()

    def resume(self) -> None:
        """Resume the producer, if it is paused."""
        if self.paused:
            self.paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def stop(self) -> None:
        """Stop the producer, and any that is registered later. Idempotent."""
        self.stopped = True
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
