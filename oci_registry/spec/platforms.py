"""Platforms of images, ``os/architecture[/variant]`` (OCI image spec, "Image Index")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

from attrs import frozen

_PART = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
# The variant that is meant if an index names none.
_USUAL = {"arm64": "v8"}


@frozen
class Platform:
    """An operating system, an architecture, and a variant of it, which may be empty."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the platform ``os/architecture[/variant]``; `ValueError` says what is wrong."""
        parts = text.strip().lower().split("/")
        if len(parts) not in (2, 3) or not all(map(_PART.fullmatch, parts)):
            raise ValueError("must be OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT: linux/amd64")
        return cls(parts[0], parts[1], "".join(parts[2:]))

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """Return the platform in an entry of an index; None if it has none."""
        if not isinstance(value, Mapping):
            return None
        system, architecture, variant = (
            text.lower() if isinstance(text, str) and _PART.fullmatch(text) else ""
            for text in (value.get("os"), value.get("architecture"), value.get("variant"))
        )
        if not system or not architecture or "unknown" in (system, architecture):
            # Attestations have the platform unknown/unknown.
            return None
        return cls(system, architecture, variant)

    def includes(self, other: Platform) -> bool:
        """Return whether *other* is this platform; without a variant this is all of them."""
        if (self.os, self.architecture) != (other.os, other.architecture):
            return False
        return not self.variant or self.variant == (
            other.variant or _USUAL.get(other.architecture, "")
        )

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
