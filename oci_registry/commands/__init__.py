"""Commands on a store or a running daemon: ``oci-registry export``, ``oci-registry ls`` and so on, without a reactor."""

from __future__ import annotations

COMMANDS = {
    "ls": "listing",
    "show": "showing",
    "du": "measuring",
    "why": "explaining",
    "rm": "removing",
    "refresh": "refreshing",
    "pin": "pinning",
    "unpin": "unpinning",
    "export": "exporting",
    "import": "importing",
    "warm": "warming",
    "completion": "completing",
}
"""The module of each command, with the functions ``parser`` and ``run``; imported only when it is used."""
