"""``oci-registry adopt``: serves the new digest of a tag before its minimum age."""

from __future__ import annotations

from oci_registry.commands.tag_command import TagCommand

_COMMAND = TagCommand(
    "adopt",
    "Serve the digest that waits for its minimum age (min_age) from now on.",
    lambda control, names, _: control.adopt(*names),
)
parser, run = _COMMAND.parser, _COMMAND.run
