"""Lists in existing files: each is checked before anything is added to it."""

from __future__ import annotations

from oci_registry.setup.nouns import Unusable


def texts(value: object, path: str, key: str) -> list[str]:
    """The list of texts at ``key`` of the file, where nothing is an empty one; else `Unusable`."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unusable(path, f"{key} must be a list of texts")
    return list(value)


def url_first(url: str, urls: list[str]) -> list[str]:
    """``urls`` with ``url`` among them: where it is, else before all others."""
    if url in [known.rstrip("/").lower() for known in urls]:
        return urls
    return [url, *urls]
