"""Patterns of images within a registry: ``library/alpine:3.*``, ``team/*``."""

from __future__ import annotations

import re

from attrs import field, frozen

LONGEST = 400
"""The maximum length of a pattern in characters."""
_REPOSITORY = re.compile(r"[A-Za-z0-9._/*-]+")
_TAG = re.compile(r"[A-Za-z0-9._*-]+")


@frozen
class ImagePattern:
    """Which repositories and tags are meant; without a tag, all tags. ``*`` is any text, slashes too.

    Made by `parse_pattern`.
    """

    text: str
    _repository: re.Pattern[str] = field(repr=False, eq=False)
    _tag: re.Pattern[str] | None = field(repr=False, eq=False)

    def matches(self, repository: str, tag: str) -> bool:
        """Whether the image *repository*:*tag* is meant."""
        return self._repository.fullmatch(repository) is not None and (
            self._tag is None or self._tag.fullmatch(tag) is not None
        )

    def __str__(self) -> str:
        return self.text


def parse_pattern(text: str) -> ImagePattern:
    """Return the pattern in *text*; ValueError says what is wrong."""
    if len(text) > LONGEST:
        raise ValueError(f"a pattern has at most {LONGEST} characters")
    repository, colon, tag = text.partition(":")
    if "://" in text:
        raise ValueError(f"{text!a} is not a pattern: write it without a scheme and the registry")
    if "@" in text:
        raise ValueError(f"{text!a} has a digest: a pattern is of repositories and tags")
    if _REPOSITORY.fullmatch(repository) is None or repository.startswith("/"):
        raise ValueError(
            f"{text!a} is not a pattern: write REPOSITORY or REPOSITORY:TAG, as in 'team/*' or "
            "'library/alpine:3.*', without the registry"
        )
    if colon and _TAG.fullmatch(tag) is None:
        raise ValueError(f"{text!a} is not a pattern: {tag!a} is not a tag")
    return ImagePattern(text, _compile(repository), _compile(tag) if colon else None)


def _compile(glob: str) -> re.Pattern[str]:
    first, *others = map(re.escape, re.sub(r"\*+", "*", glob).split("*"))
    if not others:
        return re.compile(first)
    *inner, last = others
    # Atomic groups: the first place where each part is found is as good as any later one.
    found = "".join(f"(?>.*?{part})" for part in inner)
    return re.compile(f"{first}{found}.*{last}")
