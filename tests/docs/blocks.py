"""What stands in fences on the pages: commands, files, and what programs print."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/**/*.md", "charts/**/*.md")
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.M | re.S)


@frozen
class Block:
    """A fenced block of a page, without the indentation of a list that it may stand in."""

    page: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        """Where it is, as compilers say it."""
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The lines of a script, those put together that a backslash continues."""
        return self.text.replace("\\\n", " ").splitlines()

    @property
    def title(self) -> str:
        """The first line, by which lists of blocks name it."""
        return self.text.partition("\n")[0]


def blocks_of(page: str, text: str) -> list[Block]:
    """Return the blocks of a page in their order."""
    return [
        Block(
            page,
            text.count("\n", 0, match.start()) + 1,
            match[2],
            re.sub(rf"^{match[1]}", "", match[3], flags=re.M),
        )
        for match in _BLOCK.finditer(text)
    ]


def pages() -> list[Path]:
    """Return the files of all pages."""
    return sorted({path for each in PAGES for path in ROOT.glob(each)})


def shown_blocks(*languages: str, page: str = "") -> list[Block]:
    """Return the blocks in these languages, of one page or of all."""
    return [
        block
        for path in ([ROOT / page] if page else pages())
        for block in blocks_of(str(path.relative_to(ROOT)), path.read_text("utf-8"))
        if block.language in languages
    ]
