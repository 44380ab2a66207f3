"""``oci-registry rollback``: serves an earlier digest for a tag."""

from __future__ import annotations

from oci_registry.commands.tag_command import TagCommand

_COMMAND = TagCommand(
    "rollback",
    "Hold a tag at an earlier digest: the one that was served before the present one, or the one given.",
    lambda control, names, digest: control.rollback(*names, digest),
    digest=True,
)
parser, run = _COMMAND.parser, _COMMAND.run
