"""Counters whose names prometheus-client does not allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class PlainCounters(Collector):
    """Counters with exactly the given names, which existing dashboards use.

    prometheus-client adds ``_total`` to the name of every counter, so to it these have no type; the
    exported page declares them as counters.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self._help = names
        self._values: dict[str, dict[str, int]] = {name: {} for name in names}
        self.names = frozenset(names)
        self._counters: dict[tuple[str, str], Callable[[], None]] = {}

    def increment(self, name: str, namespace: str) -> None:
        self.counter(name, namespace)()

    def total(self, end: str) -> int:
        """Return the sum of the counters whose names end so."""
        return sum(sum(of.values()) for name, of in self._values.items() if name.endswith(end))

    def counter(self, name: str, namespace: str) -> Callable[[], None]:
        """Return a function that counts one more: always the same one, since thousands keep it."""
        known = self._counters.get((name, namespace))
        if known is not None:
            return known
        values = self._values[name]

        def increment() -> None:
            values[namespace] = values.get(namespace, 0) + 1

        self._counters[name, namespace] = increment
        return increment

    def collect(self) -> Iterator[Metric]:
        for name, values in self._values.items():
            metric = Metric(name, self._help[name], "unknown")
            for namespace, value in sorted(values.items()):
                metric.add_sample(name, {"namespace": namespace}, value)
            yield metric
