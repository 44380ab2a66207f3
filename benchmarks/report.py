"""Results as a table in Markdown: medians, how far the samples are apart, and ratios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.results import Results, Row

BEGIN = "<!-- benchmark: this section is written by `make bench ARGS=--record` -->"
END = "<!-- end of the benchmark -->"


def figure(number: float) -> str:
    """Return a number with three digits that count."""
    if abs(number) >= 99.95:
        return f"{number:.0f}"
    if abs(number) >= 9.995:
        return f"{number:.1f}"
    return f"{number:.2f}" if abs(number) >= 0.0995 or number == 0 else f"{number:.3f}"


def spread(samples: Sequence[float]) -> str:
    """Return the median, and half the range of the samples as a part of it."""
    middle = median(samples)
    half = (max(samples) - min(samples)) / 2
    return f"{figure(middle)} ±{half / middle:.0%}" if half and middle > 0 else figure(middle)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return our figures divided by theirs, round by round: what slows a round slows both."""
    return [our / their for our, their in zip(ours, theirs, strict=False) if their > 0]


def layout(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, its columns as wide as they have to be."""
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def _cells(row: Row, servers: Sequence[str]) -> Iterator[str]:
    first, *others = servers
    ours = row.samples.get(first, [])
    yield f"{row.what} ({row.unit})"
    yield spread(ours) if ours else ""
    for other in others:
        theirs = row.samples.get(other, [])
        yield spread(theirs) if theirs else ""
        compared = ratios(ours, theirs)
        yield spread(compared) if compared else ""


def table(results: Results) -> str:
    """Return the table of a run, with a column for the first server and two for each other one."""
    servers = [
        name for name in results.servers if any(row.samples.get(name) for row in results.rows)
    ]
    if not servers:
        return "There are no figures."
    head = ["", servers[0]]
    for other in servers[1:]:
        head += [other, "ratio"]
    return layout(head, [list(_cells(row, servers)) for row in results.rows if row.samples])


def load_sentence(results: Results) -> str:
    """Return how the CPU time of the load generator compares with the servers'.

    With a processor for each, the one that uses more is the limit.
    """
    used = [
        (median(parts), f"{row.what}, {server}")
        for row in results.rows
        for server, parts in row.load.items()
    ]
    if not used:
        return ""
    highest, where = max(used)
    sentence = f"The load generator used at most {highest:.0%} of the server's CPU time ({where})."
    limits = [name for part, name in used if part >= 1]
    if limits:
        sentence += f" The server waited for it in: {'; '.join(limits)}."
    return sentence


def text(results: Results) -> str:
    """Return everything about a run: where and when, the table, and what is to be said about it."""
    about = "\n".join(f"* {name}: {value}" for name, value in results.about.items())
    notes = [*results.notes, load_sentence(results)]
    parts = [about, table(results), "\n".join(f"* {note}" for note in notes if note)]
    return "\n\n".join(part for part in parts if part)


def replace_section(page: str, section: str) -> str:
    """Return *page* with *section* between the two marks; ValueError if it has not got them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for the results")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"
