"""``python tools/lowest.py``: the lowest version of each dependency in pyproject.toml, as pip's constraints."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

EXTRAS = ("s3", "test")
_BOUND = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z0-9,]+\])?>=([0-9.]+)")


def lowest(requirements: list[str]) -> Iterator[str]:
    """Pin each requirement to its lower bound; one without a bound is a `ValueError`."""
    for requirement in requirements:
        if requirement.startswith("oci-registry["):
            continue
        bound = _BOUND.fullmatch(requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} has no lower bound alone")
        yield f"{bound[1]}=={bound[2]}"


def main() -> None:
    """Print the constraints."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for requirements in (
        project["dependencies"],
        *(project["optional-dependencies"][extra] for extra in EXTRAS),
    ):
        print(*lowest(requirements), sep="\n")


if __name__ == "__main__":
    main()
