"""Commands on a store or a running daemon: ``oci-registry export``, ``import``, ``warm``, without a reactor."""

from __future__ import annotations

COMMANDS = {"export": "exporting", "import": "importing", "warm": "warming"}
"""The module of each command, with the functions ``parser`` and ``run``; imported only when it is used."""
