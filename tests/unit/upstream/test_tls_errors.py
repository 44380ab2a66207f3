"""Errors of TLS in words that can be searched for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.upstream.tls_errors import (
    describe_invalid,
    describe_mismatch,
    describe_tls,
    is_not_tls,
)


def described(reason: str) -> str:
    """What is made of OpenSSL's reason."""
    return describe_tls(SSL.Error([("SSL routines", "", reason)]))


class Reasons(SynchronousTestCase):
    """OpenSSL's reasons."""

    def test_known(self) -> None:
        """OpenSSL's own words come first, whichever version it is, and then what to do."""
        for reason, start, advice in (
            (
                "wrong version number",
                "wrong version number: ",
                "is it plain HTTP? (set tls: false)",
            ),
            ("tlsv13 alert certificate required", "certificate required: ", "client_cert_file"),
            ("sslv3 alert handshake failure", "handshake failure: ", "client_cert_file"),
            ("ssl/tls alert handshake failure", "handshake failure: ", "client_cert_file"),
            ("tlsv1 alert unknown ca", "unknown CA: ", "the client certificate"),
            ("ssl/tls alert bad certificate", "bad certificate: ", "the client certificate"),
            ("tlsv1 alert protocol version", "protocol version: ", "no TLS version in common"),
            ("unsupported protocol", "unsupported protocol: ", "no TLS version in common"),
            ("tlsv1 unrecognized name", "unrecognized name: ", "does not serve this host"),
        ):
            text = described(reason)
            self.assertTrue(text.startswith(start), text)
            self.assertIn(advice, text)

    def test_unknown(self) -> None:
        """Others stay as they are."""
        for reason in ("tlsv1 alert user cancelled", "bad thing", ""):
            self.assertEqual(reason, described(reason))
        for error in (SSL.Error(), SSL.Error([]), SSL.Error("x")):
            self.assertEqual("the handshake failed", describe_tls(error))

    def test_not_tls(self) -> None:
        """Bytes that are not TLS are recognised, whatever OpenSSL finds first in them."""
        for reason, expected in (
            ("wrong version number", True),
            ("packet length too long", True),
            ("tlsv1 alert protocol version", False),
            ("unsupported protocol", False),
        ):
            self.assertEqual(expected, is_not_tls(SSL.Error([("SSL routines", "", reason)])))

    @given(st.text())
    def test_any(self, reason: str) -> None:
        """Whatever the reason is, it is said."""
        self.assertIsInstance(described(reason), str)


class Certificates(SynchronousTestCase):
    """Certificates that are not trusted."""

    def test_numbers(self) -> None:
        """OpenSSL's numbers have words, which say what to set or to check."""
        for number, words in (
            (18, "self-signed certificate (set ca_file)"),
            (19, "unknown certificate authority (set ca_file)"),
            (20, "unknown certificate authority (set ca_file)"),
            (9, "the certificate is not valid yet (or the clock of this machine is wrong)"),
            (10, "the certificate has expired (or the clock of this machine is wrong)"),
            (7, "the certificate is not valid (OpenSSL's error 7)"),
        ):
            self.assertEqual(words, describe_invalid(number))

    def test_wrong_file(self) -> None:
        """Where a file of authorities is set, its name takes the place of the advice to set one."""
        for number, words in (
            (18, "self-signed certificate (ca_file ca.pem does not contain it)"),
            (20, "unknown certificate authority (ca_file ca.pem does not contain it)"),
            (10, "the certificate has expired (or the clock of this machine is wrong)"),
        ):
            self.assertEqual(words, describe_invalid(number, "/etc/private/ca.pem"))

    def test_names(self) -> None:
        """Of the names in a certificate a few are shown, and nothing in them can disguise a line."""
        for names, words in (
            (["a.example"], "for 'a.example', not for h"),
            (["a", "b", "c", "d"], "for 'a', 'b', 'c' and others, not for h"),
            (["x\n\x1b"], "for 'x\\n\\x1b', not for h"),
        ):
            self.assertEqual(
                f"hostname mismatch: the certificate is {words}", describe_mismatch("h", names)
            )
        self.assertLess(len(describe_mismatch("h", ["x" * 10_000] * 100)), 500)
        self.assertIn("does not say which host", describe_mismatch("h", []))
