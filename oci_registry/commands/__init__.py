"""Commands on a store: ``oci-registry export``, ``import``, ``scrub``. They need no reactor."""

from __future__ import annotations

COMMANDS = {"export": "exporting", "import": "importing", "scrub": "scrubbing"}
"""The module of each command, with the functions ``parser`` and ``run``; imported only when it is used."""
