"""Commands on a store or a daemon, such as ``oci-registry export`` and ``ls``; they need no reactor."""

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
    "history": "tag_history",
    "hold": "tag_hold",
    "release": "tag_release",
    "rollback": "tag_rollback",
    "adopt": "tag_adopt",
    "scrub": "scrubbing",
    "warm": "warming",
    "completion": "completing",
}
"""The module of each command, with the functions ``parser`` and ``run``; imported only when it is used."""
