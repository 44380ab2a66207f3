"""Tells twistd about oci-registry.

Every twistd on the machine imports this module, so it imports nothing of ours: the service
maker does that when the command is really used.
"""

from twisted.application.service import ServiceMaker

oci_registry = ServiceMaker(
    "oci-registry",
    "oci_registry.tap",
    "A pull-through cache for container images.",
    "oci-registry",
)
