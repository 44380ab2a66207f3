"""How the pages become a site: ``make docs``.  They are written to be read without it, too."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from oci_registry import __version__

project = "oci-registry"
author = "the oci-registry authors"
project_copyright = f"%Y, {author}"
version = release = __version__

extensions = ["myst_parser"]
root_doc = "README"
myst_heading_anchors = 4
# Blocks without a language are what programs print.
highlight_language = "none"
html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_static_path = [os.fspath(Path(__file__).with_name("static"))]
html_css_files = ["custom.css"]

_SECTION = re.compile(r"^## ", re.M)
_PAGE = re.compile(r"\]\((\w[\w-]*/[\w-]+)\.md\)")
# Where a page of the site has the contents of a file, to which the text above it links.
_SHOWN = re.compile(r"^<!-- shown here: (\S+) -->$", re.M)
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)")
_TITLE = re.compile(r"\A# .*\n")
_LANGUAGES = {".yaml": "yaml", ".service": "ini", ".socket": "ini", "Dockerfile": "docker"}


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make the table of contents of what the first page links to: a part per section, in that order."""
    if docname != app.config.root_doc:
        return
    listed: set[str] = set()
    for section in _SECTION.split(source[0])[1:]:
        caption = section.partition("\n")[0]
        pages = [page for page in dict.fromkeys(_PAGE.findall(section)) if page not in listed]
        listed.update(pages)
        names = "\n".join(pages)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{names}\n```\n"


def show_files(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the contents of files of the project where a page has a comment that asks for them."""
    folder = Path(app.env.doc2path(docname)).parent

    def contents(match: re.Match[str]) -> str:
        file = (folder / match[1]).resolve()
        app.env.note_dependency(file)
        text = file.read_text("utf-8")
        if file.suffix != ".md":
            return f"~~~~{_LANGUAGES[file.suffix or file.name]}\n{text}~~~~\n"
        return _LINK.sub(
            lambda link: f"]({os.path.relpath(file.parent / link[1], folder)}",
            _TITLE.sub("", text),
        )

    source[0] = _SHOWN.sub(contents, source[0])


@cache
def shown_files(docs: Path) -> dict[Path, str]:
    """Return the files that pages show, each with the name of its page."""
    return {
        (page.parent / name).resolve(): page.relative_to(docs).with_suffix("").as_posix()
        for page in docs.rglob("*.md")
        for name in _SHOWN.findall(page.read_text("utf-8"))
    }


def keep_in_site(app: Sphinx, doctree: nodes.document) -> None:
    """Let links to files of the project lead to the page that shows the file, or else hand it out.

    Those to folders become text. What leads to nothing is left for Sphinx to complain of.
    """
    docs = Path(app.srcdir)
    kinds = (addnodes.pending_xref, addnodes.download_reference)
    for link in [node for node in doctree.findall() if isinstance(node, kinds)]:
        target = Path(app.env.doc2path(link["refdoc"])).parent / link["reftarget"]
        if link.get("refdomain") == "doc":
            target = docs / f"{link['reftarget']}.md"
        target = target.resolve()
        if target.is_relative_to(docs):
            continue
        shown_on = shown_files(docs).get(target, link["refdoc"])
        if target.is_dir():
            link.replace_self(link.children)
        elif shown_on != link["refdoc"]:
            attributes = {"reftargetid": None, **link.attributes, "refdomain": "doc"}
            page = addnodes.pending_xref("", *link.children, **attributes | {"reftarget": shown_on})
            link.replace_self(page)
        elif target.is_file():
            file = addnodes.download_reference(reftarget=f"/{os.path.relpath(target, docs)}")
            file += link.children
            link.replace_self(file)


def add_index(app: Sphinx, failure: Exception | None) -> None:
    """Have the first page under the name that web servers look for, too."""
    if failure is None and app.builder.format == "html":
        first = Path(app.outdir) / f"{app.config.root_doc}.html"
        first.with_name("index.html").write_bytes(first.read_bytes())


def setup(app: Sphinx) -> None:
    """Have Sphinx call the above."""
    app.connect("source-read", add_contents)
    app.connect("source-read", show_files)
    # Before Sphinx collects what there is to download.
    app.connect("doctree-read", keep_in_site, priority=100)
    app.connect("build-finished", add_index)
