"""Checks the documentation: every link inside the project leads somewhere.

``python tools/check_docs.py [ROOT]`` reads the Markdown files below ROOT (the project) and prints
one line for each link whose file, or whose heading in that file, does not exist.  Links to other
hosts are not followed: whether those are up says nothing about this project.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

PAGES = ("*.md", "docs/**/*.md", "tests/**/*.md", "benchmarks/**/*.md", "charts/**/*.md")
FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
ANCHOR = re.compile(r"""<a\s+(?:id|name)=["']([^"']+)["']""")
CODE = re.compile(r"(`+).*?\1")
LINK = re.compile(
    r"""!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^\s<>()]*(?:\([^\s()]*\))?[^\s<>()]*)>?"""
)
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?([^\s>]+)")
SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*:|^//")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Give each line outside code fences, with its number."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        elif not fence:
            yield number, line


def anchors(text: str) -> set[str]:
    """Collect what ``#...`` may name in a page: its headings in GitHub's spelling, and its ids."""
    found: set[str] = set()
    for _, line in prose(text):
        found.update(ANCHOR.findall(line))
        heading = HEADING.match(line)
        if heading:
            shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            again = 0
            unique = slug
            while unique in found:
                again += 1
                unique = f"{slug}-{again}"
            found.add(unique)
    return found


def links(text: str) -> Iterator[tuple[int, str]]:
    """Give the target of each link of a page, with the number of its line."""
    for number, line in prose(text):
        bare = CODE.sub("", line)
        for target in [*LINK.findall(bare), *REFERENCE.findall(bare)]:
            if target and not SCHEME.match(target):
                yield number, target


def problem(root: Path, page: Path, target: str) -> str | None:
    """Say what is wrong with one link of a page, or give None."""
    path, _, fragment = unquote(target).partition("#")
    start = root if path.startswith("/") else page.parent
    where = (start / path.lstrip("/")).resolve() if path else page
    if not where.is_relative_to(root):
        return "leads out of the project"
    if not where.exists():
        return "leads to nothing"
    if fragment and where.suffix == ".md" and fragment not in anchors(where.read_text("utf-8")):
        return "names no heading of that page"
    return None


def main() -> int:
    """Check all pages; the status is 1 if any link leads nowhere, or there is none."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    pages = sorted({page for pattern in PAGES for page in root.glob(pattern)})
    count = failures = 0
    for page in pages:
        for number, target in links(page.read_text("utf-8")):
            count += 1
            wrong = problem(root, page, target)
            if wrong:
                failures += 1
                print(f"{page.relative_to(root)}:{number}: {target}: {wrong}")
    print(f"{len(pages)} pages, {count} links inside the project, {failures} of them wrong")
    return 1 if failures or not count else 0


if __name__ == "__main__":
    sys.exit(main())
