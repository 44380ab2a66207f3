"""The scopes of a token: those that are requested, and those that a challenge names in addition.

A scope is ``TYPE:NAME:ACTION[,ACTION...]`` (distribution's token scope documentation); several stand
in one parameter of a challenge, separated by spaces.
"""

from __future__ import annotations

MAX_SCOPES = 16
"""The maximum number of scopes of one token; further ones of a challenge are dropped."""


def merge_scopes(wanted: str, challenged: str) -> tuple[str, ...]:
    """Return the scopes to ask a token for: *wanted*, and each of *challenged* that is not in it.

    A challenge may name more actions for what is wanted, which are then asked for as it names them.
    """
    merged = [wanted]
    for scope in challenged.split():
        subject = _subject(scope)
        same = next((n for n, one in enumerate(merged) if _subject(one) == subject), None)
        if same is not None:
            merged[same] = _widest(merged[same], scope)
        elif len(merged) < MAX_SCOPES:
            merged.append(scope)
    return tuple(merged)


def _subject(scope: str) -> str:
    """Return what a scope is about; the whole of it where it has another form."""
    subject, colon, _ = scope.rpartition(":")
    return subject if colon else scope


def _actions(scope: str) -> list[str]:
    _, colon, actions = scope.rpartition(":")
    return [action for action in actions.split(",") if action] if colon else []


def _widest(one: str, other: str) -> str:
    """Return the scope of both, for one subject, in the order of *other*."""
    actions = _actions(other)
    missing = [action for action in _actions(one) if action not in actions]
    if "*" in actions or not missing:
        return other
    return f"{_subject(other)}:{','.join([*actions, *missing])}"
