"""What went wrong with an upstream becomes an error that names it and says what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
    getConnectError,
)
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import ParseError
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived
from twisted.web.error import SchemeNotSupported

from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    GatewayTimeout,
    ManifestUnknown,
    RegistryError,
)
from oci_registry.spec.urls import BadAddress
from oci_registry.streams.body import BodyError, BodyStalled, BodyTooLong
from oci_registry.upstream.authority import Authority
from oci_registry.upstream.errors import (
    AccessDenied,
    ConnectTimedOut,
    Lasting,
    Limited,
    LocalFailure,
    TimedOut,
    TooManyLookups,
    Unreachable,
    WrongAnswer,
)
from oci_registry.upstream.failures import (
    DEFAULT_RETRY_AFTER,
    MAX_RETRY_AFTER,
    NameCancelled,
    NameTimedOut,
    explain,
    header,
    refuse,
    retry_after,
    too_late,
)
from oci_registry.upstream.proxies import ProxyFailed, ProxyRefused
from oci_registry.upstream.verification import CertificateRefused
from tests.support.fake_http import FakeResponse, as_response

HOST = "registry.example.com:5000"
NOW = 1_700_000_000.0


def tls(reason: str) -> SSL.Error:
    """Return an error as OpenSSL raises it."""
    return SSL.Error([("SSL routines", "", reason)])


class Explained(SynchronousTestCase):
    """Exceptions from below the HTTP client."""

    def explain(self, error: BaseException | None, **options: Any) -> RegistryError:
        explained = explain(error, HOST, **options)
        self.assertIn(HOST, explained.message)
        return explained

    def test_timeouts(self) -> None:
        """Whatever took too long is a 504."""
        for error in (
            DeferredTimeout(),
            ConnectTimeout(),
            NameTimedOut(),
            TCPTimedOutError(),
            ConnectingCancelledError(IPv4Address("TCP", "1.1.1.1", 443)),
            BodyStalled("nothing came"),
            CancelledError(),
            ResponseNeverReceived([Failure(DeferredTimeout())]),
        ):
            self.assertIsInstance(self.explain(error), GatewayTimeout, error)

    def test_connections(self) -> None:
        """What kept a connection from being made or used is said in a word."""
        for error, word in (
            (Refused(), "refused"),
            (NoRouteError(), "reached"),
            (ConnectError(), "reached"),
            (getConnectError((99, "Cannot assign requested address")), "reached: Cannot assign"),
            (getConnectError((101, "Network is unreachable")), "reached: Network is unreachable"),
            (ConnectBindError(24, "Too many open files"), "reached: Too many open files"),
            (ConnectionDone(), "closed"),
            (ConnectionLost(), "closed"),
            (DNSLookupError("no such host"), "resolved"),
            (ParseError("no status line", b"SSH-2.0"), "a malformed HTTP response"),
            (BodyError("upstream sent 3 of 4 bytes"), "3 of 4"),
            (BodyTooLong("the body has more than 4 bytes"), "more than 4"),
            (tls("certificate verify failed"), "TLS: certificate verify failed"),
            (SSL.Error(), "TLS: the handshake failed"),
            (SSL.Error([]), "TLS: the handshake failed"),
            (CertificateRefused("the certificate has expired"), "TLS: the certificate has expired"),
            (BadAddress("no host"), "an invalid address"),
            (SchemeNotSupported("ftp"), "an invalid address"),
        ):
            for wrapped in (
                error,
                ResponseNeverReceived([Failure(error)]),
                ResponseFailed([Failure(error)], None),
                RequestTransmissionFailed([Failure(error)]),
                ResponseFailed([Failure(RequestTransmissionFailed([Failure(error)]))], None),
            ):
                explained = self.explain(wrapped)
                self.assertIsInstance(explained, BadGateway, wrapped)
                self.assertIn(word, explained.message)

    def test_proxies(self) -> None:
        """Trouble with a proxy names it and what it did, before anything that follows from it."""
        proxy = Authority("proxy.example.com", 3128)
        named = f"upstream {HOST}: its proxy {proxy}"
        for error, kind, words in (
            (ProxyFailed(proxy, Refused()), BadGateway, "refused the connection"),
            (ProxyFailed(proxy, ConnectionDone()), BadGateway, "closed the connection"),
            (
                ProxyFailed(proxy, ParseError("what", b"SSH")),
                BadGateway,
                "a malformed HTTP response",
            ),
            (ProxyFailed(proxy, tls("bad thing")), BadGateway, "TLS: bad thing"),
            (ProxyFailed(proxy, DNSLookupError()), BadGateway, "could not be resolved"),
            (ProxyFailed(proxy, DeferredTimeout()), TimedOut, "did not answer in time"),
            (ProxyRefused(proxy, 403, known=False), BadGateway, "status 403"),
            (ProxyRefused(proxy, 503, known=True), BadGateway, "status 503"),
            (ProxyRefused(proxy, 504, known=False), GatewayTimeout, "status 504"),
            (ProxyRefused(proxy, 407, known=False), BadGateway, "requires credentials"),
            (ProxyRefused(proxy, 407, known=True), BadGateway, "rejected our credentials"),
        ):
            for wrapped in (
                error,
                ResponseNeverReceived([Failure(ConnectionLost()), Failure(error)]),
            ):
                explained = self.explain(wrapped, public_only=True)
                self.assertIsInstance(explained, kind, words)
                self.assertIn(named, explained.message)
                self.assertIn(words, explained.message)

    def test_tls_before_its_consequence(self) -> None:
        """The reason behind a lost connection counts, wherever in the list it is."""
        error = ResponseNeverReceived([Failure(ConnectionLost()), Failure(tls("bad thing"))])
        self.assertIn("bad thing", self.explain(error).message)

    def test_private_host(self) -> None:
        """A client that names a private registry learns that it must be configured."""
        explained = self.explain(DNSLookupError(), public_only=True)
        self.assertIn("configure private registries", explained.message)

    def test_registry_errors_pass(self) -> None:
        """An error that is one already stays as it is."""
        error = ManifestUnknown("no such thing")
        self.assertIs(error, explain(error, HOST))
        self.assertIs(error, explain(ResponseFailed([Failure(error)], None), HOST))

    def test_reach(self) -> None:
        """Where there was no connection at all the host is out of reach, and else it is not."""
        for error in (
            Refused(),
            NoRouteError(),
            DNSLookupError(),
            ConnectTimeout(),
            NameTimedOut(),
            tls("certificate verify failed"),
            ProxyRefused(Authority("proxy.example.com", 3128), 503, known=True),
        ):
            self.assertIsInstance(self.explain(error), Unreachable, error)
        through = (ConnectionLost(), DeferredTimeout(), ParseError("?", b"SSH"), BodyError("?"))
        for reached in through:
            self.assertNotIsInstance(self.explain(reached), Unreachable)

    def test_lasting(self) -> None:
        """Certificates, and servers without TLS, will be the same in a second; a name may not."""
        for error in (
            CertificateRefused("the certificate has expired"),
            tls("wrong version number"),
            ResponseNeverReceived([Failure(CertificateRefused("hostname mismatch"))]),
            ProxyFailed(Authority("proxy.example.com", 3128), CertificateRefused("expired")),
        ):
            self.assertIsInstance(self.explain(error), Lasting, error)
        for passing in (
            Refused(),
            DNSLookupError(),
            ConnectTimeout(),
            NameTimedOut(),
            tls("tlsv1 alert internal error"),
        ):
            self.assertNotIsInstance(self.explain(passing), Lasting)

    def test_plain_http(self) -> None:
        """A host that is asked over plain HTTP and hangs up, or sends an alert, may expect TLS."""
        advice = "does it expect TLS? (remove tls: false)"
        alert = ParseError("not a status line", b"\x15\x03\x01\x00\x02\x02F")
        for error, kind, words in (
            (alert, WrongAnswer, f"answered with a TLS alert: {advice}"),
            (ConnectionDone(), BadGateway, f"closed the connection without an answer: {advice}"),
            (ConnectionLost(), BadGateway, f"closed the connection without an answer: {advice}"),
        ):
            failed = ResponseFailed([Failure(error)], None)
            explained = self.explain(failed, plain=True)
            self.assertIs(kind, type(explained))
            self.assertEqual(f"upstream {HOST} {words}", explained.message)
            self.assertEqual(explained.message, str(explained))
            self.assertNotIn(advice, self.explain(failed).message)
        other = ParseError("not a status line", b"SSH-2.0")
        self.assertNotIn(advice, self.explain(other, plain=True).message)

    def test_defect(self) -> None:
        """A defect of ours is a 500 that tells nothing, and its traceback is logged."""
        for error in (RuntimeError("secret"), KeyError("secret")):
            explained = explain(error, HOST)
            self.assertIsInstance(explained, LocalFailure)
            self.assertEqual(500, explained.status)
            self.assertNotIn("secret", explained.message)
            self.assertEqual(1, len(self.flushLoggedErrors(type(error))))

    def test_not_http(self) -> None:
        """What Twisted's parser stumbles over is upstream's doing."""
        for error in (ResponseFailed([Failure(ValueError("x"))], None), ResponseFailed([], None)):
            self.assertIn("a malformed HTTP response", self.explain(error).message)
        self.assertIsInstance(self.explain(None), BadGateway)

    def test_time_for_a_connection(self) -> None:
        """Work that is cancelled while it connects has not got through to the host."""
        connecting = Failure(ConnectingCancelledError(IPv4Address("TCP", "1.1.1.1", 443)))
        self.assertIsInstance(explain(too_late(connecting, 1.0).value, HOST), ConnectTimedOut)
        looking_up = explain(too_late(Failure(NameCancelled("h")), 1.0).value, HOST)
        self.assertIsInstance(looking_up, ConnectTimedOut)
        self.assertIn("its name could not be resolved in time", looking_up.message)
        queued = explain(too_late(Failure(TooManyLookups("h")), 1.0).value, HOST)
        self.assertNotIsInstance(queued, TimedOut)
        for other in (Failure(CancelledError()), Failure(BodyError("given up")), None):
            explained = explain(too_late(other, 1.0).value, HOST)
            self.assertIs(TimedOut, type(explained))


class Statuses(SynchronousTestCase):
    """Answers with the wrong status."""

    def refuse(self, code: int, **headers: str) -> RegistryError:
        response = as_response(FakeResponse(code, headers=headers))
        error = refuse(response, HOST, BlobUnknown, "library/app", NOW)
        self.assertIn(HOST, error.message)
        return error

    def test_statuses(self) -> None:
        """Each status has its error."""
        for code, kind in (
            (404, BlobUnknown),
            (410, BlobUnknown),
            (401, AccessDenied),
            (403, AccessDenied),
            (412, AccessDenied),
            (451, AccessDenied),
            (429, Limited),
            (504, GatewayTimeout),
            (500, BadGateway),
            (502, BadGateway),
            (503, BadGateway),
            (400, WrongAnswer),
            (406, WrongAnswer),
            (408, BadGateway),
            (201, WrongAnswer),
            (206, WrongAnswer),
            (304, WrongAnswer),
            (999, BadGateway),
        ):
            self.assertIs(kind, type(self.refuse(code)), code)

    def test_message(self) -> None:
        """The message says what was asked for and what was answered."""
        for code in (401, 403, 500, 504):
            message = self.refuse(code).message
            self.assertIn(str(code), message)
            self.assertIn("library/app", message)

    def test_retry_after(self) -> None:
        """A 429 passes its time on; clients get it as a 503."""
        error = self.refuse(429, **{"Retry-After": "7"})
        self.assertEqual((503, "7"), (error.status, error.headers["Retry-After"]))
        self.assertEqual(str(DEFAULT_RETRY_AFTER), self.refuse(429).headers["Retry-After"])
        self.assertIs(BadGateway, type(self.refuse(503, **{"Retry-After": "soon"})))
        error = self.refuse(503, **{"Retry-After": "7"})
        assert isinstance(error, Limited)
        self.assertEqual((503, 7), (error.status, error.seconds))


class RetryAfter(SynchronousTestCase):
    """The header ``Retry-After``."""

    def test_seconds(self) -> None:
        """Seconds are taken as they are, within reason, and fractions rounded up."""
        for value, expected in (
            ("1", 1),
            (" 17 ", 17),
            ("0", 1),
            ("3600", 3600),
            ("2.0", 2),
            ("1.5", 2),
            ("0.25", 1),
            ("86400", MAX_RETRY_AFTER),
            ("9" * 400, MAX_RETRY_AFTER),
        ):
            self.assertEqual(expected, retry_after(value, NOW), value)

    def test_dates(self) -> None:
        """A date is that many seconds away; one in the past is now."""
        for distance, expected in ((90, 90), (-90, 1), (10**8, MAX_RETRY_AFTER)):
            moment = datetime.fromtimestamp(NOW + distance, UTC)
            for value in (format_datetime(moment, usegmt=True), format_datetime(moment)):
                self.assertEqual(expected, retry_after(value, NOW), value)
        self.assertEqual(90, retry_after("Tue, 14 Nov 2023 22:14:50", NOW))

    def test_moment(self) -> None:
        """Some servers send the moment as seconds since 1970."""
        self.assertEqual(90, retry_after(str(int(NOW) + 90), NOW))
        self.assertEqual(1, retry_after(str(int(NOW) - 90), NOW))

    def test_garbage(self) -> None:
        """What is neither means nothing."""
        for value in (
            None,
            "",
            "soon",
            "-5",
            "1.5.5",
            "1e3",
            "0x10",
            "٣",
            "Tue, 99 Nov 2023 22:14:50 GMT",
        ):
            self.assertIsNone(retry_after(value, NOW), value)

    @given(st.text() | st.integers().map(str) | st.datetimes().map(format_datetime))
    def test_any_text(self, value: str) -> None:
        """Whatever is sent, the answer is a sensible number of seconds, or none."""
        seconds = retry_after(value, NOW)
        self.assertTrue(seconds is None or 1 <= seconds <= MAX_RETRY_AFTER)


class Header(SynchronousTestCase):
    """Headers as text."""

    def test_header(self) -> None:
        """The first value is read, whatever its bytes; a header that is not there is None."""
        response = FakeResponse(headers={"A": "1"})
        response.headers.addRawHeader(b"A", b"2")
        response.headers.addRawHeader(b"B", b"\xff")
        self.assertEqual("1", header(as_response(response), "a"))
        self.assertEqual("\ufffd", header(as_response(response), "B"))
        self.assertIsNone(header(as_response(response), "C"))
