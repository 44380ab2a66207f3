"""What helm makes of the chart."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.chart.gotools import HELM, program
from tools.kube_schemas import read_documents

CHART = Path(__file__).parents[2] / "charts" / "oci-registry"
NAMESPACE = "images"


class HelmFailed(Exception):
    """helm said no; the message is what it said."""


def run(*arguments: str, directory: Path | None = None) -> str:
    """Return what a command of helm prints, in a *directory*; `HelmFailed` says why it does not."""
    command = [str(program(HELM)), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=directory)  # noqa: S603
    if done.returncode:
        raise HelmFailed(done.stderr + done.stdout)
    return done.stdout


def _values(files: Sequence[Path], values: Mapping[str, object] | None) -> list[str]:
    arguments = [f"--values={file}" for file in files]
    for key, value in (values or {}).items():
        arguments.append(f"--set-json={key}={json.dumps(value)}")
    return arguments


def lint(chart: Path, file: Path) -> None:
    """Look at the chart with a set of values, strictly."""
    run("lint", "--strict", "--quiet", str(chart), f"--values={file}")


def template(
    *files: Path,
    chart: Path = CHART,
    release: str = "test",
    values: Mapping[str, object] | None = None,
) -> str:
    """Return all objects of the chart, as YAML; `HelmFailed` says why there are none."""
    arguments = ["template", release, str(chart), f"--namespace={NAMESPACE}"]
    return run(*arguments, *_values(files, values))


def objects(
    *files: Path,
    chart: Path = CHART,
    release: str = "test",
    values: Mapping[str, object] | None = None,
) -> list[dict[str, Any]]:
    """Return all objects of the chart."""
    return read_documents(template(*files, chart=chart, release=release, values=values))


def notes(*files: Path, values: Mapping[str, object] | None = None) -> str:
    """Return what is said to who installs the chart; no cluster is asked."""
    arguments = ["install", "test", str(CHART), f"--namespace={NAMESPACE}", "--dry-run=client"]
    return run(*arguments, *_values(files, values)).partition("\nNOTES:\n")[2]
