"""Commands on a store: ``oci-registry export``, ``oci-registry ls`` and so on. They need no reactor."""

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
    "top": "watching",
    "log": "following",
    "sweep": "sweeping",
    "export": "exporting",
    "import": "importing",
    "completion": "completing",
}
"""The module of each command, with the functions ``parser`` and ``run``; imported only when it is used."""
