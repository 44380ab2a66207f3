"""What commands print."""

from __future__ import annotations

from io import StringIO
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from oci_registry.commands.output import Bar, NoProgress, Output, counted, progress_on, some


class Terminal(StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


class Printing(SynchronousTestCase):
    """Lines, notes and JSON."""

    def test_lines(self) -> None:
        """The result goes to one stream, all else to the other."""
        out, err = StringIO(), StringIO()
        output = Output("export", out, err)
        output.line("a.tar: 1 image")
        output.problem("x:1 is not stored")
        output.finish({"bundle": "a.tar"})
        self.assertEqual("a.tar: 1 image\n", out.getvalue())
        self.assertEqual("oci-registry export: x:1 is not stored\n", err.getvalue())

    def test_json(self) -> None:
        """With JSON there are no lines, and the problems are in the document."""
        out = StringIO()
        output = Output("export", out, StringIO(), json=True)
        output.line("a.tar: 1 image")
        output.problem("x:1 is not stored")
        output.finish({"bundle": "a.tar"})
        self.assertIn('"problems": [\n    "x:1 is not stored"\n  ]', out.getvalue())
        self.assertNotIn("1 image", out.getvalue())

    def test_words(self) -> None:
        """Numbers have nouns, and long lists end."""
        self.assertEqual(("1 blob", "2 blobs"), (counted(1, "blob"), counted(2, "blob")))
        self.assertEqual("a, b", some("ab"))
        self.assertEqual("a, b and 2 more", some("abcd", 2))


class Progressing(SynchronousTestCase):
    """Bars on a terminal."""

    def test_plain(self) -> None:
        """There is none on what is no terminal, and none without rich."""
        self.assertIsInstance(progress_on(StringIO()), NoProgress)
        with mock.patch.dict("sys.modules", {"rich": None, "rich.console": None}):
            progress = progress_on(Terminal())
        self.assertIsInstance(progress, NoProgress)
        progress.begin("export", 10)
        progress.advance(5)
        progress.grow(20)
        progress.end()

    def test_bar(self) -> None:
        """A bar is shown, and removed in the end."""
        try:
            import rich  # noqa: F401, PLC0415 - an extra
        except ImportError:
            raise SkipTest("rich is not installed") from None
        stream = Terminal()
        bar = progress_on(stream)
        assert isinstance(bar, Bar)
        bar.begin("export", 10)
        bar.grow(20)
        bar.advance(10)
        bar.end()
        bar.end()
        self.assertIn("export", stream.getvalue())
