"""``oci-registry hold``: serves one digest for a tag, whatever upstream says."""

from __future__ import annotations

from oci_registry.commands.tag_command import TagCommand

_COMMAND = TagCommand(
    "hold",
    "Hold a tag at a digest: the one that is served now, or the one given. It is served until a release.",
    lambda control, names, digest: control.hold(*names, digest),
    digest=True,
)
parser, run = _COMMAND.parser, _COMMAND.run
