"""What clients have sent, in a log."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.web.shown import shown, without_secrets


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
