"""A directory on a disk that fails as it is told, while everything else in the process continues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

Fault = Callable[..., None]
"""Is called with a function's arguments before it; raises what it shall raise."""


def error(number: int) -> Fault:
    """Fail always."""

    def fault(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fault


def creating(number: int) -> Fault:
    """Fail where a file would be made."""

    def fault(path: object, flags: int, *_: object) -> None:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), path)

    return fault


def beyond(size: int, number: int) -> Fault:
    """Fail where a file has grown to *size* bytes."""

    def fault(descriptor: int, *_: object) -> None:
        if os.fstat(descriptor).st_size >= size:
            raise OSError(number, os.strerror(number))

    return fault


@contextmanager
def failing(root: Path, **faults: Fault) -> Iterator[None]:
    """Let functions of ``os`` fail for what is below *root*, which their first argument says."""
    top = os.path.abspath(root)

    def faulty(name: str, fault: Fault) -> Callable[..., Any]:
        really = getattr(os, name)

        def call(where: Any, *args: Any, **more: Any) -> Any:
            known = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else where
            if os.path.abspath(os.fsdecode(known)).startswith(top):
                fault(where, *args)
            return really(where, *args, **more)

        return call

    wrapped: dict[str, Any] = {name: faulty(name, fault) for name, fault in faults.items()}
    with patch.multiple(os, **wrapped):
        yield
