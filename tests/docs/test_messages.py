"""The page on troubleshooting quotes the daemon."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.blocks import ROOT

# Parts of messages, without what differs from one to the next.
MESSAGES = (
    " is in use: choose another address, such as ",
    ": this user may not use ports below ",
    " cannot be written to",
    ": it belongs to user ",
    " is on a read-only file system",
    "unknown key",
    "did you mean ",
    "no storage given",
    " belongs after the storage: ",
    "the store cannot be used, pulls are not cached: ",
    "the server cannot be reached",
    " is not a repository name: it has upper-case letters",
    "This port speaks plain HTTP",
    " denied access to ",
    "; it was asked ",
    "without credentials",
    "the credentials for user ",
    " were refused by ",
    "check username and password ",
    "the user may not pull it, or username and password ",
    " is not configured in this mirror",
    "there is nothing at this path",
    " refused the connection",
    "its name could not be resolved",
    "its name could not be resolved in time",
    "closed the connection without an answer",
    "requires credentials",
    "rejected our credentials",
    " could not connect",
    "its name cannot be resolved to a public address: check its spelling and DNS; ",
    "it is not a JSON object",
    "circuit breaker open for ",
    ": the circuit breaker is open for ",
    " rate limits requests",
    "all connections to upstream ",
    "the mirror has too many downloads under way",
    "rate limited, paused for ",
    " did not answer in time",
    "self-signed certificate",
    "unknown certificate authority",
    "set ca_file",
    " does not contain it",
    "does it expect TLS? (remove tls: false)",
    "answered with a TLS alert",
    "wrong version number: is it plain HTTP? (set tls: false)",
    "hostname mismatch: the certificate is for ",
    "the certificate has expired",
    "certificate required: set client_cert_file",
    "the bytes that upstream sent have the digest ",
    "wrong bytes: ",
    " broke off at byte ",
    "is served stale",
    "the client closed the connection ",
    "pulls go on uncached: ",
    " (not stored: ",
    "ready, but nothing new is stored",
)


class Messages(SynchronousTestCase):
    """What operators compare with their log."""

    def test_messages(self) -> None:
        """Each of these is on the page, and in the code as it is on the page."""
        page = (ROOT / "docs/how-to/troubleshooting.md").read_text("utf-8")
        code = "\n".join(
            file.read_text("utf-8") for file in sorted((ROOT / "oci_registry").rglob("*.py"))
        )
        # A message may be written in several pieces, one to a line.
        code = re.sub(r'"\s*\n\s*f?"', "", code)
        self.assertEqual([], [message for message in MESSAGES if message not in page])
        self.assertEqual([], [message for message in MESSAGES if message not in code])
