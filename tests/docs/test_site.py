"""The pages become a site, and what is wrong with one of them ends the build."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from sphinx.search.en import SearchEnglish
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
FIRST = """# Project

Begin with [one](how-to/one.md).

## First steps

* [One](how-to/one.md)

## Details

* [Two](reference/two.md), after [one](how-to/one.md)
"""


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
        """The first page is the index; its sections are parts of the contents, each page in one."""
        self.assertEqual("", self.build())
        for name in ("README.html", "index.html"):
            contents = self.html(name).partition('class="sidebar-tree"')[2].partition("</div>")[0]
            found = re.findall(r'caption-text">([^<]+)<|href="([^"]+)"', contents)
            expected = ["First steps", "how-to/one.html", "Details", "reference/two.html"]
            self.assertEqual(expected, [caption or page for caption, page in found])

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

    def test_shown_files(self) -> None:
        """A page can show a file of the project; links to the file lead there, all but its own."""
        self.page("contrib/unit.service", "[Unit]\nDescription=Shown\n")
        self.page(
            "contrib/README.md",
            "# Chart\n\n## Values\n\n[here](unit.service), [one](../docs/how-to/one.md)\n",
        )
        for name, file in (("two", "README.md"), ("three", "unit.service")):
            path = f"../../contrib/{file}"
            text = f"# Page\n\nOf [the file]({path}):\n\n<!-- shown here: {path} -->\n"
            self.page(f"docs/reference/{name}.md", text)
        links = "[a](../../contrib/README.md#values), [b](../../contrib/unit.service)"
        self.page("docs/how-to/one.md", f"# One\n\n{links}\n")
        self.page("docs/README.md", f"{FIRST}* [Three](reference/three.md)\n")
        self.assertEqual("", self.build())
        one, two, three = map(
            self.html, ("how-to/one.html", "reference/two.html", "reference/three.html")
        )
        self.assertIn('href="../reference/two.html#values"', one)
        self.assertIn('href="../reference/three.html"', one)
        self.assertIn("<h2>Values", two)
        self.assertNotIn("<h1>Chart", two)
        self.assertIn('href="three.html"', two)
        self.assertIn('href="../how-to/one.html"', two)
        self.assertIn("Description", three)
        fetched = {file.name for file in (self.site / "_downloads").rglob("*.*")}
        self.assertEqual({"README.md", "unit.service"}, fetched)

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


# What people look for, and a page that they should find.
SEARCHES = {
    "troubleshooting": "how-to/troubleshooting",
    "docker hub login": "how-to/docker-hub",
    "clear cache": "how-to/faq",
    "purge": "how-to/faq",
    "offline": "how-to/offline",
    "self-signed": "how-to/troubleshooting",
    "garbage collection": "how-to/faq",
    "high availability": "how-to/s3",
    "BuildKit": "how-to/ci",
    "GitHub Actions": "how-to/ci",
    "GitLab": "how-to/ci",
    "arm64": "reference/dockerfile",
    "air-gapped": "how-to/offline",
    "backup": "how-to/backup",
    "disk full": "how-to/troubleshooting",
}


class Search(SynchronousTestCase):
    """The search of the real site."""

    def setUp(self) -> None:
        site = Path(self.mktemp())
        command = [sys.executable, "-m", "sphinx", "--quiet", str(ROOT / "docs"), str(site)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        text = (site / "searchindex.js").read_text("utf-8")
        self.index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
        self.language = SearchEnglish({})

    def found(self, words: str) -> set[str]:
        """Return the pages that have all of these words, as the script of the site finds them."""
        pages = []
        for word in re.findall(r"\w+", words.lower()):
            if word not in self.language.stopwords:
                stem = self.language.stem(word)
                numbers: set[int] = set()
                for table in (self.index["terms"], self.index["titleterms"]):
                    entry = table.get(stem, [])
                    numbers |= {entry} if isinstance(entry, int) else set(entry)
                pages.append({self.index["docnames"][number] for number in numbers})
        return set.intersection(*pages)

    def test_terms(self) -> None:
        """Each of these words leads to a page that is about it."""
        for words, page in SEARCHES.items():
            self.assertIn(page, self.found(words), words)
        self.assertEqual(set(), self.found("no such words zyzzyva"))
