"""An account of a store in memory, without a thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.task import Clock

from oci_registry.account.account import Account, AccountLimits
from oci_registry.account.database import Database
from oci_registry.metrics import Metrics
from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.storage.interfaces import ObjectInfo
from oci_registry.storage.totals import StoredTotals
from tests.support.streams import run_at_once


class MemoryMedium:
    """A driver in memory, as the account reads a store."""

    def __init__(self, driver: MemoryDriver, *, remote: bool = False) -> None:
        self._driver = driver
        self.remote = remote
        self.looks = 0

    def look(self, key: str) -> ObjectInfo | None:
        self.looks += 1
        return self._driver.look(key)

    def fetch(self, key: str, limit: int) -> bytes | None:
        return self._driver.fetch(key, limit)

    def walk(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._driver.walk(prefix)


def make_account(
    path: str,
    driver: MemoryDriver,
    clock: Clock,
    totals: StoredTotals | None = None,
    metrics: Metrics | None = None,
    medium: MemoryMedium | None = None,
    on_demand: bool = False,
    **limits: Any,
) -> Account:
    """Return an account of what is in *driver*."""
    limits.setdefault("pause", 0.0)
    database = Database(path, medium or MemoryMedium(driver), clock.seconds())
    return Account(
        database,
        run_at_once,
        clock,
        totals or StoredTotals(),
        metrics or Metrics(),
        AccountLimits(**limits),
        on_demand=on_demand,
    )


def settle(account: Account, clock: Clock) -> None:
    """Let the comparison that is under way come to its end."""
    for _ in range(1000):
        if account.state is None or not account.state.comparing:
            return
        clock.advance(0)
    raise AssertionError("the comparison does not end")
