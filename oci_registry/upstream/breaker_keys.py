"""What a failure or a pause of a host may concern: a kind of question, a repository in it, a subject."""

from __future__ import annotations

from oci_registry.upstream.questions import Kind, Question

Area = Kind | str
"""What fails as one: a kind of question, or the origin of another server."""
Key = tuple[Area] | tuple[Area, str] | tuple[Area, str, str]

KINDS: tuple[Key, ...] = tuple((kind,) for kind in Kind)
"""The keys of all kinds of questions as a whole."""


def keys_of(area: Area, question: Question) -> tuple[Key, ...]:
    """Return the keys of all that a question concerns, the widest first."""
    return (
        (area,),
        (area, question.repository),
        (area, question.repository, question.subject),
    )


def source_of(key: Key, question: Question) -> str:
    """Return what identifies a question within a key, to tell one source of failures from two."""
    return question.repository if len(key) == 1 else question.subject


def describe(key: Key) -> str:
    """Return what logs call a key: ``manifests, library/busybox``."""
    area, *rest = key
    return ", ".join((area.value if isinstance(area, Kind) else area, *rest))
