"""What a start leaves for later: the TLS library, and the collection of garbage."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_TLS = "OpenSSL"
_SELDOM = (10_000, 100, 100)
# Kinds of endpoints that do without TLS, and HOST:PORT, whose host is no kind.
_PLAIN = re.compile(
    r"(?:haproxy:)?(?:tcp6?|unix|systemd|fd|localhost):.*|[^A-Za-z][^:]*(?::\d+)?|\[.*|:\d+"
)


def all_plain(places: Iterable[str]) -> bool:
    """Whether none of the places to listen at, as operators write them, may need TLS."""
    return all(_PLAIN.fullmatch(place) for text in places for place in text.split())


@contextmanager
def without_tls() -> Iterator[None]:
    """Leave OpenSSL out of what is imported meanwhile, unless it is there already.

    Twisted does without it: its reactor cannot listen or connect with TLS then. That saves 13 MiB and a
    fifth of the start in a daemon that nobody asks for anything over TLS. Afterwards it can be imported,
    for connections that put TLS on top of a transport, as `upstream.tls` does.
    """
    if _TLS in sys.modules:
        yield
        return
    # The way to say that a module cannot be imported.
    modules: dict[str, Any] = sys.modules
    modules[_TLS] = None
    try:
        yield
    finally:
        del modules[_TLS]


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Look for garbage among new objects only, and not often.

    While modules are imported, objects become more and more and hardly any of them is garbage. To look at
    all of them again and again takes a sixth of the start.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def keep_for_good() -> None:
    """Never look for garbage among the objects that a start has made.

    Those of modules live as long as the process. To look at all of them takes 20 to 50 ms, in which nobody
    is answered.
    """
    gc.freeze()
