"""The conformance suite of the OCI distribution specification, in its read-only mode."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

MODULE = (
    "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111"
)
HEADING = "OCI Conformance Result"


class Unavailable(Exception):
    """The suite cannot be had on this machine; the text says why."""


def install(work: Path) -> Path:
    """Build the suite and return it; Unavailable where Go, or Go's module index, is missing."""
    go = shutil.which("go")
    if go is None:
        raise Unavailable("Go is not installed")
    environment = {**os.environ, "GOBIN": str(work / "go")}
    if "HOME" not in environment:
        environment |= {"GOPATH": str(work / "go"), "GOCACHE": str(work / "go-cache")}
        environment["GOFLAGS"] = "-modcacherw"
    done = subprocess.run(
        [go, "install", MODULE],
        env=environment,
        timeout=600,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise Unavailable(f"go install: {done.stdout.strip()[-500:]}")
    return work / "go" / "conformance"


def conform(
    suite: Path,
    work: Path,
    mirror: str,
    repository: str,
    *,
    tags: Iterable[str],
    manifests: Iterable[str],
    blobs: Iterable[str],
    referrers: Iterable[str],
) -> str:
    """Run the suite over what a repository holds and return its counts.

    AssertionError, with all it said, unless something passed and nothing failed.
    """
    done = subprocess.run(
        [str(suite)],
        timeout=300,
        cwd=work,
        check=False,  # its exit status tells nothing
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "OCI_REGISTRY": mirror,
            "OCI_TLS": "disabled",
            "OCI_VERSION": "1.1",
            "OCI_REPO1": repository,
            "OCI_API_PUSH": "false",
            "OCI_API_BLOBS_DELETE": "false",
            "OCI_API_MANIFESTS_DELETE": "false",
            "OCI_API_TAGS_DELETE": "false",
            "OCI_RO_DATA_TAGS": " ".join(tags),
            "OCI_RO_DATA_MANIFESTS": " ".join(manifests),
            "OCI_RO_DATA_BLOBS": " ".join(blobs),
            "OCI_RO_DATA_REFERRERS": " ".join(referrers),
            "OCI_RESULTS_DIR": str(work / "results"),
        },
    ).stdout
    _, found, summary = done.partition(HEADING)
    assert found, done[-4000:]
    # Counts are padded with dots and end with the total; further tables follow.
    rows = re.findall(r"^  (\w+)\.*:\s+(\d+)$", summary, re.MULTILINE)
    counts = {name.lower(): int(count) for name, count in rows}
    assert counts.get("pass") and counts.keys() >= {"fail", "error", "total"}, done[-4000:]
    assert not counts["fail"] + counts["error"], done[-8000:]
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
