"""``oci-registry history``: the digests that a tag has named."""

from __future__ import annotations

from oci_registry.commands.tag_command import TagCommand

_COMMAND = TagCommand(
    "history",
    "Show which digests a tag has had: when each was first seen and last confirmed.",
    lambda control, names, _: control.history(*names),
    reads=True,
)
parser, run = _COMMAND.parser, _COMMAND.run
