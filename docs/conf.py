"""How the pages become a site: ``make docs``.  They are written to be read without it, too."""

from __future__ import annotations

import os
import re
from itertools import groupby
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
html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False

_PAGE = re.compile(r"\]\(((\w[\w-]*)/[\w-]+)\.md\)")


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make what the first page links to the table of contents: a part per folder, in that order."""
    if docname != app.config.root_doc:
        return
    for folder, pages in groupby(_PAGE.findall(source[0]), lambda page: page[1]):
        names = "\n".join(dict.fromkeys(page for page, _ in pages))
        caption = folder.capitalize()
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{names}\n```\n"


def keep_in_site(app: Sphinx, doctree: nodes.document) -> None:
    """Let links to files of the project that are no pages hand out the file, and those to folders be text.

    What leads to nothing is left for Sphinx to complain of.
    """
    docs = Path(app.srcdir)
    for link in list(doctree.findall(addnodes.pending_xref)):
        target = Path(app.env.doc2path(link["refdoc"])).parent / link["reftarget"]
        if link["refdomain"] == "doc":
            target = docs / f"{link['reftarget']}.md"
        target = target.resolve()
        if target.is_relative_to(docs):
            continue
        if target.is_dir():
            link.replace_self(link.children)
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
    # Before Sphinx collects what there is to download.
    app.connect("doctree-read", keep_in_site, priority=100)
    app.connect("build-finished", add_index)
