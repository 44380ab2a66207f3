"""What workers report."""

from __future__ import annotations

import json
from collections import Counter

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.workers import reports
from oci_registry.workers.messages import Message, unpack
from oci_registry.workers.reports import INTERVAL, Lines, Reports, Responses, consumption


class Reporting(SynchronousTestCase):
    """Reports of a worker."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[Message] = []
        self.room = True

    def send(self, data: bytes) -> None:
        self.sent.append(unpack(data))

    def lines(self, form: str) -> Lines:
        return Lines(self.send, lambda: self.room, 3, form)

    def test_json_lines(self) -> None:
        """Each JSON object gets the number of the worker, and stays one."""
        objects = [{"agent": "}\\n", "n": 1}, {"agent": "é", "n": 2}]
        self.lines("json").write("".join(f"{json.dumps(each)}\n" for each in objects))
        written = self.sent[0].payload.decode().splitlines()
        self.assertEqual(
            [{**each, "worker": 3} for each in objects], [json.loads(x) for x in written]
        )

    def test_text_lines(self) -> None:
        """Other lines have it at their end."""
        for form in ("text", "combined"):
            self.lines(form).write("one\ntwo\n")
            self.assertEqual(b"one worker=3\ntwo worker=3\n", self.sent.pop().payload)

    def test_no_room(self) -> None:
        """Lines that the main process cannot take are dropped, and counted in the next ones."""
        lines = self.lines("text")
        self.room = False
        lines.write("one\ntwo\n")
        self.assertEqual([], self.sent)
        self.room = True
        lines.write("three\n")
        lines.write("four\n")
        self.assertEqual([2, 0], [message.fields["dropped"] for message in self.sent])

    def test_counts(self) -> None:
        """Counts are sent together, some time later, and only if there are any."""
        responses, uses = Responses(), Counter({b"/v2/": 2})
        made = Reports(self.send, responses, uses, lambda: 7, self.clock, lambda: (1.5, 4096))
        for _ in range(3):
            responses.response("base", "GET", "200", 0.0)
            made.changed()
        self.assertEqual([], self.sent)
        self.clock.advance(INTERVAL)
        (message,) = self.sent
        self.assertEqual(
            {
                "connections": 7,
                "cpu": 1.5,
                "memory": 4096,
                "responses": [["base", "GET", "200", 3]],
                "uses": [["/v2/", 2]],
            },
            message.fields,
        )
        self.clock.advance(10)
        self.assertEqual(1, len(self.sent))

    def test_consumption(self) -> None:
        """What a process has used grows, and is of the size that processes have."""
        cpu, memory = consumption()
        assert memory is not None
        self.assertLess(1024 * 1024, memory)
        while consumption()[0] == cpu:
            pass
        self.assertLess(cpu, consumption()[0])

    def test_no_descriptors(self) -> None:
        """While all descriptors are taken, what was counted is reported nevertheless."""
        self.patch(reports, "_STATUS", "/proc/self/none")
        responses = Responses()
        responses.response("base", "GET", "200", 0.0)
        Reports(self.send, responses, Counter(), lambda: 1, self.clock).send()
        (message,) = self.sent
        self.assertIsNone(message.fields["memory"])
        self.assertEqual([["base", "GET", "200", 1]], message.fields["responses"])

    def test_many_targets(self) -> None:
        """Many long targets are sent in several messages, each counted once."""
        uses = Counter({b"/%d/%b" % (number, b"x" * 1000): 1 for number in range(250)})
        made = Reports(self.send, Responses(), uses, lambda: 0, self.clock)
        made.send()
        self.assertEqual(250, sum(len(message.fields["uses"]) for message in self.sent))
        self.assertEqual(0, len(uses))
