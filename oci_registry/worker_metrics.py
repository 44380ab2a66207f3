"""The metrics of the CPU time and the memory that worker processes use."""

from __future__ import annotations

from contextlib import suppress

from prometheus_client.metrics import Counter, Gauge
from prometheus_client.registry import CollectorRegistry


class WorkerUsage:
    """What workers use, by the number of each."""

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
        """A worker has used further seconds of *cpu*, and has so many bytes of *memory*; None: as before."""
        self._cpu.labels(str(number)).inc(cpu)
        if memory is not None:
            self._memory.labels(str(number)).set(memory)

    def gone(self, number: int) -> None:
        """A worker has ended; what its successor uses is added to what it has used."""
        with suppress(KeyError):
            self._memory.remove(str(number))
