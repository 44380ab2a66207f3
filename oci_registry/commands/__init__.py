"""Commands on a store: ``oci-registry export``, ``oci-registry import`` and others. They need no reactor."""

from __future__ import annotations

COMMANDS = {
    "export": "exporting",
    "import": "importing",
    "history": "tag_history",
    "hold": "tag_hold",
    "release": "tag_release",
    "rollback": "tag_rollback",
    "adopt": "tag_adopt",
}
"""The module of each command, with the functions ``parser`` and ``run``; imported only when it is used."""
