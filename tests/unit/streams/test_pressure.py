"""Back pressure on a push producer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from oci_registry.streams.pressure import BackPressure


@implementer(IPushProducer)
class Recorded:
    """A producer that remembers what it was asked to do."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


EVENTS = st.lists(
    st.one_of(
        st.integers(0, 30),
        st.sampled_from(["register", "unregister", "pause", "resume", "stop", "marks"]),
    ),
    max_size=60,
)


class Pressure(SynchronousTestCase):
    """A producer held to two marks."""

    def setUp(self) -> None:
        self.pressure = BackPressure(10)
        self.producer = Recorded()
        self.pressure.register(self.producer)

    def test_marks(self) -> None:
        """A producer is paused above the high mark, and resumed at the low one, once each."""
        for waiting in (10, 11, 12, 10, 6):
            self.pressure.update(waiting)
        self.assertEqual(["pause"], self.producer.calls)
        for waiting in (5, 4, 0, 10):
            self.pressure.update(waiting)
        self.assertEqual(["pause", "resume"], self.producer.calls)

    def test_low_mark(self) -> None:
        """The low mark may be another one than half of the high one."""
        self.pressure.set_marks(10, 10)
        self.pressure.update(11)
        self.pressure.update(10)
        self.assertEqual(["pause", "resume"], self.producer.calls)

    def test_next_producer(self) -> None:
        """A producer that registers while too much waits is paused at once."""
        self.pressure.update(11)
        self.pressure.unregister()
        self.assertFalse(self.pressure.registered)
        second = Recorded()
        self.pressure.register(second)
        self.pressure.update(0)
        self.assertEqual((["pause"], ["pause", "resume"]), (self.producer.calls, second.calls))

    def test_resumed_in_between(self) -> None:
        """A producer that registers when the pressure is gone is left to run."""
        self.pressure.update(11)
        self.pressure.unregister()
        self.pressure.update(5)
        second = Recorded()
        self.pressure.register(second)
        self.assertEqual([], second.calls)

    def test_stopped(self) -> None:
        """The producer is stopped once, and so is one that registers later."""
        self.pressure.stop()
        self.pressure.stop()
        second = Recorded()
        self.pressure.register(second)
        self.assertEqual((["stop"], ["stop"]), (self.producer.calls, second.calls))

    @given(EVENTS)
    def test_order(self, events: list[int | str]) -> None:
        """No producer is paused twice in a row, resumed unless paused, or asked anything once stopped."""
        pressure = BackPressure(10)
        producers: list[Recorded] = []
        for event in events:
            if event == "register":
                producers.append(Recorded())
                pressure.register(producers[-1])
            elif event == "marks":
                pressure.set_marks(20)
            elif isinstance(event, int):
                pressure.update(event)
                if event > 20 or event <= 5:
                    self.assertEqual(event > 20, pressure.paused)
            else:
                getattr(pressure, event)()
        for producer in producers:
            calls = producer.calls
            if "stop" in calls:
                self.assertEqual(len(calls) - 1, calls.index("stop"))
                calls = calls[:-1]
            self.assertEqual(["pause", "resume"] * (len(calls) // 2), calls[: len(calls) // 2 * 2])
            self.assertIn(calls[len(calls) // 2 * 2 :], ([], ["pause"]))
