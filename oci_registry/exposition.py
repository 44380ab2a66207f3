"""The text that Prometheus reads (exposition format 0.0.4), in pieces.

prometheus-client can only write a whole page at once, and imports HTTP servers to do so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SAMPLES_AT_ONCE = 100
"""Samples in a piece of the page."""
_CREATED = "_created"
_LABEL = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


def pieces(metric: Metric, plain: Set[str] = frozenset(), *, more: bool = False) -> Iterator[bytes]:
    """Return the text of a metric in pieces of few samples; its description only in the first.

    *plain*: names of counters that do not end with ``_total``, whatever type they have. *more*: these are
    further samples of the metric before, which has the description.
    """
    name, kind = metric.name, metric.type
    if name in plain:
        kind = "counter"
    elif kind == "counter":
        name += "_total"
    elif kind == "unknown":
        kind = "untyped"
    # A time of creation is a separate metric, and the samples of one metric must be adjacent.
    created = [sample for sample in metric.samples if sample.name.endswith(_CREATED)]
    others = [sample for sample in metric.samples if not sample.name.endswith(_CREATED)]
    yield from _family(name, kind, metric.documentation, others, more=more)
    if created:
        yield from _family(metric.name + _CREATED, "gauge", metric.documentation, created)


def _family(
    name: str, kind: str, text: str, samples: list[Sample], *, more: bool = False
) -> Iterator[bytes]:
    before = "" if more else f"# HELP {name} {text.translate(_HELP)}\n# TYPE {name} {kind}\n"
    for start in range(0, len(samples) or 1, SAMPLES_AT_ONCE):
        yield (before + _lines(samples[start : start + SAMPLES_AT_ONCE])).encode()
        before = ""


def _lines(samples: Iterable[Sample]) -> str:
    lines = []
    for sample in samples:
        labels = ",".join(
            f'{name}="{value.translate(_LABEL)}"' for name, value in sorted(sample.labels.items())
        )
        shown = f"{{{labels}}}" if labels else ""
        lines.append(f"{sample.name}{shown} {number(sample.value)}\n")
    return "".join(lines)


def number(value: float) -> str:
    """Return a number in the format of Prometheus."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]
