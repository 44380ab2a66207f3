"""Why a question about the store, or a change of it, cannot be answered."""

from __future__ import annotations


class ManagementProblem(Exception):
    """A question cannot be answered, or a change cannot be made: one sentence for people.

    *code* is for programs, and the same for each kind of problem.
    """

    code = "FAILED"

    @property
    def message(self) -> str:
        """The sentence."""
        return str(self)


class NotStored(ManagementProblem):
    """There is no such image or blob in the store."""

    code = "NOT_FOUND"


class InvalidName(ManagementProblem):
    """The text is not the name of an image, or has the wrong form for this operation."""

    code = "INVALID_NAME"


class InUse(ManagementProblem):
    """It cannot be removed, because it is being read or written."""

    code = "IN_USE"


class IsPinned(ManagementProblem):
    """It cannot be removed, because it is pinned, or a tag is held at it."""

    code = "PINNED"


class NotReady(ManagementProblem):
    """The index of the store cannot be used, or is not complete yet: try again later."""

    code = "UNAVAILABLE"
