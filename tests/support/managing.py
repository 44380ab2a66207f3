"""Names of what is looked after."""

from __future__ import annotations

from oci_registry.config.names import fold_alias
from oci_registry.management.subjects import Subject, parse_subject
from oci_registry.spec.image import parse_image


def subject(text: str) -> Subject:
    """Return what a name means."""
    return parse_subject(text, lambda each: parse_image(each, fold=fold_alias))
