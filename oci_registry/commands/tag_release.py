"""``oci-registry release``: ends the hold of a tag."""

from __future__ import annotations

from oci_registry.commands.tag_command import TagCommand

_COMMAND = TagCommand(
    "release",
    "Hold a tag no longer: it follows the registry again.",
    lambda control, names, _: control.release(*names),
)
parser, run = _COMMAND.parser, _COMMAND.run
