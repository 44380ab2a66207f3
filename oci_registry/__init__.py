"""A pull-through cache for container images from any registry."""

from __future__ import annotations

from oci_registry._version import __version__ as _version

#: The version as it is written on the package index, such as ``26.11.0``.
__version__: str = _version.public()

__all__ = ["__version__"]
