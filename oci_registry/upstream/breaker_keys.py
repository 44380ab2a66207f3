"""What a failure or a pause of a host may concern: a kind of question, a repository in it, a subject."""

from __future__ import annotations

from oci_registry.upstream.questions import Kind, Question

Endpoint = Kind | str
"""What fails as one: the endpoint of the API for a kind of question, or the origin of another server."""
Key = tuple[Endpoint] | tuple[Endpoint, str] | tuple[Endpoint, str, str]

KINDS: tuple[Key, ...] = tuple((kind,) for kind in Kind)
"""The keys of all kinds of questions as a whole."""


def keys_of(endpoint: Endpoint, question: Question) -> tuple[Key, ...]:
    """Return the keys of all that a question concerns, the widest first."""
    return (
        (endpoint,),
        (endpoint, question.repository),
        (endpoint, question.repository, question.subject),
    )


def source_of(key: Key, question: Question) -> str:
    """Return what identifies a question within a key, to tell one source of failures from two."""
    return question.repository if len(key) == 1 else question.subject


def describe(key: Key) -> str:
    """Return what logs call a key: ``manifests, library/busybox``."""
    endpoint, *rest = key
    return ", ".join((endpoint.value if isinstance(endpoint, Kind) else endpoint, *rest))
