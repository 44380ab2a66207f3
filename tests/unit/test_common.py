"""The pools of threads of a daemon."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.common import Pools
from tests.unit.service_case import Pool


class NamedPool(Pool):
    """A pool that notes its start and stop. One named *hanging* does not stop."""

    def __init__(self, noted: list[str], name: str) -> None:
        self._noted = noted
        self._name = name

    def start(self) -> None:
        self._noted.append(f"start {self._name}")

    def stop(self) -> bool:
        self._noted.append(f"stop {self._name}")
        return self._name != "hanging"


class AllPools(SynchronousTestCase):
    """Pools that are started and stopped together."""

    def setUp(self) -> None:
        self.noted: list[str] = []
        self.pools = Pools(self.make, "reactor")
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def make(self, reactor: Any, name: str, threads: int) -> NamedPool:
        self.noted.append(f"{reactor} {name} {threads}")
        return NamedPool(self.noted, name)

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "oci_registry.common.Pools":
            self.noted.append(event["log_format"].format_map(event))

    def test_together(self) -> None:
        """All that were made start and stop."""
        self.pools.add("lookup", 8)
        self.pools.add("commit", 4)
        self.pools.start()
        self.pools.stop()
        made = ["reactor lookup 8", "reactor commit 4"]
        self.assertEqual(
            [*made, "start lookup", "start commit", "stop lookup", "stop commit"], self.noted
        )

    def test_hanging(self) -> None:
        """A pool whose threads hang keeps no other from stopping, and a warning is logged."""
        self.pools.add("hanging", 1)
        self.pools.add("commit", 4)
        self.pools.stop()
        self.assertEqual(
            [
                "stop hanging",
                "stop commit",
                "threads still hang in their work, and end with the process: hanging",
            ],
            self.noted[2:],
        )
