"""``python -m tools.chart [CHART]``: checks the chart with every set of values in its ``ci`` directory.

Each set goes through ``helm lint --strict``, ``helm template``, kubeconform and the rules.  Nothing to
check is a failure.  Where there is no Go to build the programs with, a line says so, and that is all.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.chart import conformance, helm
from tools.chart.gotools import NoGo
from tools.chart.rules import exposed, problems
from tools.kube_schemas import read_documents

ENOUGH = 10
"""How many sets of values there are at least."""
RELEASES = ("test", "1.release-that-has-the-longest-name-that-helm-permits")
"""The longest name has 53 characters."""


def check_set(chart: Path, file: Path) -> tuple[int, list[str]]:
    """Check the chart with one set of values; return how many objects are right, and what is wrong."""
    right, wrong = 0, []
    try:
        helm.lint(chart, file)
        for release in RELEASES:
            rendered = helm.template(file, chart=chart, release=release)
            count, refused = conformance.check(rendered)
            right += count
            wrong += refused
            if not refused:
                objects = read_documents(rendered)
                # The rules read what conforms.
                wrong += [*problems(objects), *exposed(objects)] if count else ["no objects"]
    except helm.HelmFailed as error:
        wrong.append(str(error).strip())
    return right, wrong


def check(chart: Path) -> int:
    """Check the chart with all sets of values, and print what comes of it; return the exit status."""
    files = sorted((chart / "ci").glob("*-values.yaml"))
    total = failures = 0
    for file in files:
        right, wrong = check_set(chart, file)
        total += right
        failures += len(wrong)
        print(f"{file.name}: {right} objects, {len(wrong)} problems")
        for problem in wrong:
            print(f"  {problem}")
    if len(files) < ENOUGH:
        failures += 1
        print(f"there are {len(files)} sets of values, and {ENOUGH} are wanted")
    print(f"{len(files)} sets of values, {total} objects, {failures} problems")
    return 1 if failures else 0


def main() -> int:
    """Check the chart that is named, or the project's."""
    try:
        return check(Path(sys.argv[1]) if len(sys.argv) > 1 else helm.CHART)
    except NoGo as error:
        print(f"SKIP  the chart is not checked: {error}")
        return 0


if __name__ == "__main__":
    sys.exit(main())
