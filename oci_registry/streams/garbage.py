"""When Python's garbage collector works: a collection of everything delays all requests."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

_SELDOM = (10_000, 100, 100)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Collect garbage among new objects only, and less often.

    Importing modules, or reading files of upstreams, makes many objects, and hardly any garbage.
    Traversing all of them repeatedly takes a sixth of the start. Only the main thread may use it.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def keep_for_good() -> None:
    """Exclude the objects that exist now from garbage collection.

    Those of modules live as long as the process. Traversing all of them takes 20 to 50 ms, during which
    no request is answered. Other objects are freed as before, unless they become part of a cycle: so this
    is called after imports only, and `keep_after_collecting` after a reload.
    """
    gc.freeze()


def keep_after_collecting() -> None:
    """Collect garbage, and exclude the objects that remain from garbage collection.

    For the settings of upstreams after a reload: 12 objects for each, which take 5 ms with those of the
    caches. What else exists then is excluded too. Requests, downloads and clients' connections without TLS
    are freed by reference counting. One with TLS would leave some 50 objects (5 KiB), so this is not called
    if clients may use TLS. What ends in a cycle is not freed any more, at most for each such call:

    * some 60 objects (5 KiB) for each upstream that was asked, and is replaced by a later reload, with its
      connection;
    * some 10 objects for each further connection to a registry, 50 if it is being made;
    * 4 objects for each call that a thread is executing.
    """
    gc.collect()
    gc.freeze()


def import_for_good(name: str) -> ModuleType:
    """Import a module, in any thread, and exclude its objects from garbage collection."""
    module = import_module(name)
    keep_for_good()
    return module


def release_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error that has been handled, and of the errors that led to it.

    A frame in a traceback often refers to the error itself, as Twisted's do. Then only the garbage
    collector frees them, with all that their coroutines have used.
    """
    errors: list[BaseException | None] = [error]
    while errors:
        one = errors.pop()
        if one is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            errors += [one.__context__, one.__cause__]
