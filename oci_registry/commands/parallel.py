"""Calls in several threads, for commands that wait for a network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

TICK = 0.5
"""The maximum delay in seconds until Ctrl-C is noticed."""


def in_parallel(
    jobs: int, items: Sequence[T], work: Callable[[T], R]
) -> Iterator[tuple[T, R | Exception]]:
    """Yield each item with what *work* returned or raised for it, in the order in which they end.

    *jobs*: how many calls are made at once. If the iterator is closed, as by Ctrl-C, no more calls are
    begun, and running ones do not prevent the process from ending.
    """
    todo: queue.SimpleQueue[T] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[T, R | Exception]] = queue.SimpleQueue()
    stopped = threading.Event()
    for item in items:
        todo.put(item)

    def run() -> None:
        while not stopped.is_set():
            try:
                item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((item, work(item)))
            except Exception as error:
                done.put((item, error))

    threads = [
        threading.Thread(target=run, name=f"job {number}", daemon=True)
        for number in range(min(jobs, len(items)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in items:
            yield _next(done)
    finally:
        stopped.set()


def _next(done: queue.SimpleQueue[T]) -> T:
    while True:
        try:
            return done.get(timeout=TICK)
        except queue.Empty:
            pass
