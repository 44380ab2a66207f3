"""The files of the status page that are always the same: its style, its script and its icon."""

from __future__ import annotations

import hashlib
from pathlib import Path

from attrs import frozen

from oci_registry.web.reply import Reply, content

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
NAMES = ("style.css", "script.js", "icon.svg")
_FOR_GOOD = "private, max-age=31536000, immutable"


@frozen
class Asset:
    """A file. *version*: changes with its content, and is in its address."""

    name: str
    body: bytes
    version: str

    def reply(self, version: str | None) -> Reply:
        """Return the file for a request that asks for this version."""
        headers = content(_TYPES[self.name.rpartition(".")[2]], len(self.body))
        if version == self.version:
            headers["Cache-Control"] = _FOR_GOOD
        return Reply(200, headers, self.body)


def read_assets() -> dict[str, Asset]:
    """Return the files by name. Blocks."""
    folder = Path(__file__).with_name("static")
    bodies = {name: (folder / name).read_bytes() for name in NAMES}
    return {
        name: Asset(name, body, hashlib.sha256(body).hexdigest()[:12])
        for name, body in bodies.items()
    }


ASSETS = read_assets()
"""They are read when this module is imported, which happens in a thread."""
