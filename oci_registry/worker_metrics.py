"""The metrics of the CPU time and the memory that worker processes use."""

from __future__ import annotations

from contextlib import suppress

from prometheus_client.metrics import Counter, Gauge
from prometheus_client.registry import CollectorRegistry


class WorkerUsage:
    """The CPU time and memory of workers, by their numbers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._cpu = Counter(
            "oci_registry_worker_cpu_seconds",
            "CPU seconds of worker processes, user and system",
            ("worker",),
            registry=registry,
        )
        self._memory = Gauge(
            "oci_registry_worker_resident_memory_bytes",
            "Resident memory of worker processes",
            ("worker",),
            registry=registry,
        )

    def used(self, number: int, cpu: float, memory: int | None) -> None:
        """Add further seconds of *cpu* of a worker, and set its *memory* in bytes; None: as before."""
        self._cpu.labels(str(number)).inc(cpu)
        if memory is not None:
            self._memory.labels(str(number)).set(memory)

    def gone(self, number: int) -> None:
        """Take note that a worker has ended; its CPU time and that of its successor are added up."""
        with suppress(KeyError):
            self._memory.remove(str(number))
