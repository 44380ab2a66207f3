"""What clients have sent, in a log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.errors import BlobUnknown
from oci_registry.streams.follower import TransferCrashed
from oci_registry.web.shown import reason_of, shown, shown_reason, without_secrets


class Shown(SynchronousTestCase):
    """What is shown, and what is not."""

    def test_without_secrets(self) -> None:
        """Users and the values of unknown fields are left out; the rest stays as it is."""
        for uri, expected in (
            (b"/v2/a/tags/list?n=1&last=b&ns=c&artifactType=d", None),
            (b"/v2/a@b/c:d@e", None),
            (b"http://host/v2/a@b", None),
            (b"http://me:secret@host/v2/", b"http://***@host/v2/"),
            (b"http://me@secret@host/v2/", b"http://***@host/v2/"),
            (b"/v2/?token=secret", b"/v2/?token=***"),
            (b"/v2/?ns=a&token=secret=&n=1&x=secret", b"/v2/?ns=a&token=***&n=1&x=***"),
            (b"/v2/?nsx=secret&NS=secret", b"/v2/?nsx=***&NS=***"),
            (b"/v2/?=secret&a=?secret", b"/v2/?=***&a=***"),
            (b"/v2/?secret&token%3Dsecret&n=1", b"/v2/?***&***&n=1"),
            (b"/v2/?ns=me:secret@c&n=1", b"/v2/?ns=***@c&n=1"),
            (b"/v2/?n=1&ns=https://me:secret%40c", b"/v2/?n=1&ns=***@c"),
            (b"//me:secret@host/v2/", b"//***@host/v2/"),
            (b"me:secret@host:443", b"***@host:443"),
        ):
            self.assertEqual(expected or uri, without_secrets(uri))

    def test_shown(self) -> None:
        """Nothing that a client sends can end a line, look like another field, or fill the disk."""
        self.assertEqual("/v2/a?n=1", shown(b"/v2/a?n=1"))
        self.assertEqual("a\\r\\nb", shown(b"a\r\nb"))
        self.assertEqual("a\\x22 200", shown(b'a" 200'))
        self.assertEqual("\\x1b[2J", shown(b"\x1b[2J"))
        self.assertEqual("\\xe9", shown(b"\xe9"))
        self.assertEqual(512, len(shown(b"x" * 10_000)))


class Reasons(SynchronousTestCase):
    """Why a response is an error."""

    def test_reason(self) -> None:
        """An error of the API has its code, a defect its type."""
        self.assertEqual("BLOB_UNKNOWN: no", reason_of(BlobUnknown("no")))
        self.assertEqual("UNKNOWN: ZeroDivisionError: no", reason_of(ZeroDivisionError("no")))
        crashed = TransferCrashed()
        crashed.__cause__ = EOFError("the reason")
        told = TransferCrashed()
        told.__cause__ = crashed
        self.assertEqual("UNKNOWN: EOFError: the reason", reason_of(told))
        refused = BlobUnknown("no")
        refused.__cause__ = EOFError("of no interest")
        self.assertEqual("BLOB_UNKNOWN: no", reason_of(refused))

    def test_secrets(self) -> None:
        """Credentials, tokens and queries are left out, and nothing else is."""
        for reason, expected in (
            ("GET https://me:pw@host/a failed", "GET https://***@host/a failed"),
            ("proxy http://me@host:1: refused", "proxy http://***@host:1: refused"),
            ("https://b/k?X-Amz-Signature=ab&x=1: no", "https://b/k?*** no"),
            ("sent 'Bearer abcdefghijklmnop.q' to x", "sent 'Bearer ***' to x"),
            ("got eyJhbGciOiJIUzI1.eyJzdWIi.sig back", "got *** back"),
            ("access_token=abc, password=d;e", "access_token=***, password=***;e"),
            ("wrong version number: is it plain HTTP? set tls: false", None),
            ("the token server: status 404 for library/app, 1@2", None),
            ("no basic authentication; größe", None),
            ("nothing at '/me:secret@x/v2/y'", "nothing at '/***@x/v2/y'"),
            ("nothing at 'me:se@cret@x'", "nothing at '***@x'"),
            ("'app:1@sha256:0' and '/v2/a:1@b' are none", None),
        ):
            self.assertEqual(expected or reason, shown_reason(reason))

    def test_bounds(self) -> None:
        """A reason has an end, and no characters that could disguise a line."""
        self.assertEqual(2000, len(shown_reason("x" * 10_000)))
        self.assertEqual('a  b" [2J', shown_reason('a\r\nb"\x1b[2J'))

    @given(st.text())
    def test_any(self, text: str) -> None:
        """Any reason is one printable line."""
        self.assertTrue(shown_reason(text).isprintable())
