"""The key ``min_age`` of an upstream: one duration, or durations by patterns of images."""

from __future__ import annotations

from attrs import frozen

from oci_registry.config.documents import Value
from oci_registry.config.fields import duration
from oci_registry.config.settings import AgeRule, MinAges
from oci_registry.spec.patterns import parse_pattern

EVERY = "*"
"""The pattern that matches every image."""
_MOST = 100


def min_age(value: Value) -> MinAges:
    """Return the rules; the `ValueError` has all problems."""
    if not isinstance(value.value, dict):
        if isinstance(value.value, bool) or not isinstance(value.value, str | int):
            raise ValueError(
                f"must be a duration such as 3d, or durations by patterns, not {value.kind}"
            )
        return MinAges((AgeRule(parse_pattern(EVERY), duration(value)),))
    if len(value.value) > _MOST:
        raise ValueError(f"must have at most {_MOST} patterns, not {len(value.value)}")
    read = [_read(pattern, age) for pattern, age in value.value.items()]
    problems = [one.problem for one in read if one.problem is not None]
    if problems:
        raise ValueError("; ".join(problems))
    rules = [one.rule for one in read if one.rule is not None]
    # Not in the order of the file: programs that write YAML sort the keys of a mapping.
    return MinAges(
        tuple(sorted(rules, key=lambda rule: (-len(rule.pattern.text), rule.pattern.text)))
    )


@frozen
class _Read:
    """The rule for one pattern, or the problem with it."""

    rule: AgeRule | None = None
    problem: str | None = None


def _read(pattern: str, age: Value) -> _Read:
    try:
        return _Read(AgeRule(parse_pattern(pattern), duration(age)))
    except ValueError as error:
        return _Read(problem=f"line {age.line}: {error}")
