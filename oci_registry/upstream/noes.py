"""What an upstream has said no to, for a short while: the same question is not asked again."""

from __future__ import annotations

from collections import OrderedDict

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from oci_registry.spec.errors import Denied, RegistryError

REMEMBERED = 4096
"""Noes of one upstream that are kept; the oldest make room."""

EVERYTHING = "manifest "
"""How the questions begin to which a 401 or 403 speaks of the whole repository."""


@frozen
class _No:
    kind: type[RegistryError]
    message: str
    until: float


class Noes:
    """The noes of one upstream: 404 by question, 401 and 403 by repository, which is a token's scope.

    *not_found* and *denied*: seconds that each is remembered; 0 forgets at once.
    """

    def __init__(self, clock: IReactorTime, *, not_found: float, denied: float) -> None:
        self._clock = clock
        self._not_found = not_found
        self._denied = denied
        self._noes: OrderedDict[tuple[str, str | None], _No] = OrderedDict()

    def __len__(self) -> int:
        return len(self._noes)

    def check(self, repository: str, question: str) -> None:
        """Raise the no that was given to *question* about *repository*, if one is remembered."""
        for key in ((repository, None), (repository, question)):
            no = self._noes.get(key)
            if no is None:
                continue
            if self._clock.seconds() < no.until <= self._clock.seconds() + self._longest:
                raise no.kind(no.message)
            del self._noes[key]

    @property
    def _longest(self) -> float:
        return max(self._not_found, self._denied)

    def remember(self, repository: str, question: str, error: RegistryError) -> None:
        """Keep the no that upstream has given."""
        denied = isinstance(error, Denied)
        lifetime = self._denied if denied else self._not_found
        # A single blob may be locked away; who may read no manifest may read nothing.
        everything = denied and question.startswith(EVERYTHING)
        if lifetime <= 0:
            return
        key = (repository, None if everything else question)
        until = self._clock.seconds() + lifetime
        self._noes[key] = _No(type(error), error.message, until)
        self._noes.move_to_end(key)
        if len(self._noes) > REMEMBERED:
            self._noes.popitem(last=False)
