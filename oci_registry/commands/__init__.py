"""Commands on a store: ``oci-registry export``, ``oci-registry import``. They need no reactor."""

from __future__ import annotations

COMMANDS = {"export": "exporting", "import": "importing"}
"""The module of each command, with the functions ``parser`` and ``run``; imported only when it is used."""
