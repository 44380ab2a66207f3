"""What the load generators read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.load import BadResponse, parse_head
from benchmarks.wrk import Outcome, parse

HEAD = b"HTTP/1.1 200 OK\r\nDate: now\r\ncontent-LENGTH: 12\r\n\r\n"
WRK = """\
Running 1s test @ http://127.0.0.1:8080/v2/library/big/manifests/1
  Latency Distribution
     50%  270.00us
     99%   41.47ms
  8844 requests in 1.02s, 18.89MB read
"""


class Responses(SynchronousTestCase):
    """The head of a response."""

    def test_complete(self) -> None:
        """A head that is complete says where the body begins and how long it is."""
        self.assertEqual((len(HEAD), 12), parse_head(HEAD + b"begin", "GET"))
        self.assertEqual((len(HEAD), 0), parse_head(HEAD, "HEAD"))

    def test_incomplete(self) -> None:
        """Nothing is known before the end of the head, wherever it is cut."""
        for end in range(len(HEAD)):
            self.assertEqual((0, 0), parse_head(HEAD[:end], "GET"))

    def test_bad(self) -> None:
        """An error and a body of unknown length are no responses to measure."""
        self.assertRaises(BadResponse, parse_head, HEAD.replace(b"200", b"503"), "GET")
        self.assertRaises(BadResponse, parse_head, b"HTTP/1.1 200 OK\r\n\r\n", "GET")


class Wrk(SynchronousTestCase):
    """The output of wrk."""

    def test_outcome(self) -> None:
        """Responses are counted, and latencies are in milliseconds whatever their unit."""
        self.assertEqual(Outcome(8844, 41.47), parse(WRK))
        self.assertEqual(0.5, parse(WRK.replace("41.47ms", "500.00us")).p99)
        self.assertEqual(1250, parse(WRK.replace("41.47ms", "1.25s")).p99)

    def test_failures(self) -> None:
        """Errors and other statuses make a sample worthless; requests that took long do not."""
        errors = "  Socket errors: connect 0, read {}, write 0, timeout 5\n"
        self.assertRaises(BadResponse, parse, WRK + errors.format(3))
        self.assertRaises(BadResponse, parse, WRK + "  Non-2xx or 3xx responses: 4\n")
        self.assertRaises(BadResponse, parse, WRK.replace("8844", "0"))
        self.assertRaises(BadResponse, parse, "unable to connect")
        self.assertEqual(8844, parse(WRK + errors.format(0)).responses)
