"""The version, kept by incremental: ``python -m incremental.update oci_registry --newversion X``."""

from __future__ import annotations

from incremental import Version

__version__ = Version("oci_registry", 26, 11, 0)
__all__ = ["__version__"]
