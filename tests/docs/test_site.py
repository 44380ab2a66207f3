"""The pages become a site, and what is wrong with one of them ends the build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
FIRST = "# Documentation\n\n* [One](how-to/one.md)\n* [Two](reference/two.md)\n"


class Site(SynchronousTestCase):
    """A small site beside some files, with the configuration of the real one."""

    def setUp(self) -> None:
        self.project = Path(self.mktemp()).absolute()
        self.docs, self.site = self.project / "docs", self.project / "site"
        self.page("docs/README.md", FIRST)
        self.page("docs/how-to/one.md", "# One\n\n## More of it\n")
        self.page("docs/reference/two.md", "# Two\n")

    def page(self, name: str, text: str) -> None:
        """Write a file of the project."""
        file = self.project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    def build(self) -> str:
        """Build it as ``make docs`` does and return what is said; nothing is if all is well."""
        command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--nitpicky", "--quiet"]
        command += ["--conf-dir", str(ROOT / "docs"), str(self.docs), str(self.site)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        self.assertEqual(bool(done.stderr), bool(done.returncode), done.stdout + done.stderr)
        return done.stderr

    def html(self, name: str) -> str:
        """Return a page of the site."""
        return (self.site / name).read_text("utf-8")

    def test_contents(self) -> None:
        """The first page is the index, and lists a part for each folder that it links to."""
        self.assertEqual("", self.build())
        for name in ("README.html", "index.html"):
            page = self.html(name)
            for expected in ("How-to", "Reference", 'href="how-to/one.html"'):
                self.assertIn(expected, page)

    def test_links_between_pages(self) -> None:
        """A link to a heading of another page leads to that heading on the site."""
        self.page("docs/reference/two.md", "# Two\n\n[more](../how-to/one.md#more-of-it)\n")
        self.assertEqual("", self.build())
        self.assertIn('href="../how-to/one.html#more-of-it"', self.html("reference/two.html"))

    def test_files_of_the_project(self) -> None:
        """Files beside the documentation can be fetched from the site, pages among them."""
        self.page("contrib/unit.service", "[Unit]\n")
        self.page("charts/README.md", "# Chart\n\n## Values\n")
        links = "[unit](../../contrib/unit.service), [chart](../../charts/README.md#values)"
        self.page("docs/reference/two.md", f"# Two\n\n{links}\n")
        self.assertEqual("", self.build())
        fetched = {file.name for file in (self.site / "_downloads").rglob("*.*")}
        self.assertEqual({"unit.service", "README.md"}, fetched)
        self.assertNotIn("../../contrib", self.html("reference/two.html"))

    def test_folders_of_the_project(self) -> None:
        """A folder beside the documentation is not on the site, and nothing there links to it."""
        self.page("code/room/module.py", "")
        self.page("docs/reference/two.md", "# Two\n\nThe [room](../../code/room) there\n")
        self.assertEqual("", self.build())
        self.assertIn(">room</span> there", self.html("reference/two.html"))
        self.assertNotIn("code/room", self.html("reference/two.html"))

    def test_mistakes(self) -> None:
        """Each of these ends the build, and is named."""
        for text, expected in (
            ("[x](../../nowhere)", "'../../nowhere'"),
            ("[x](../../nowhere.md)", "nowhere"),
            ("[x](../how-to/none.md)", "none"),
            ("[x](../how-to/one.md#less-of-it)", "less-of-it"),
            ("#### Deeper than the one before", "H1 to H4"),
            ("```nosuchlanguage\nx\n```", "nosuchlanguage"),
        ):
            self.page("docs/reference/two.md", f"# Two\n\n{text}\n")
            said = self.build()
            self.assertIn("two.md:3", said, text)
            self.assertIn(expected, said)

    def test_unlisted_page(self) -> None:
        """A page to which the first one does not link ends the build."""
        self.page("docs/how-to/three.md", "# Three\n")
        self.assertIn("three.md", self.build())
