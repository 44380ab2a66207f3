"""The OCI conformance suite in its read-only mode, through the mirror."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

MODULE = (
    "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111"
)


def install(work: Path) -> Path | None:
    """Install the suite; None where there is no Go."""
    go = shutil.which("go")
    if go is None:
        return None
    environment = {**os.environ, "GOBIN": str(work / "go")}
    subprocess.run(
        [go, "install", MODULE], env=environment, check=True, timeout=600, capture_output=True
    )
    return work / "go" / "conformance"


def conform(
    suite: Path,
    work: Path,
    mirror: str,
    repository: str,
    tags: list[str],
    manifests: list[str],
    blobs: list[str],
    referrers: list[str],
) -> str:
    """Run the suite; return its counts. AssertionError when anything failed or nothing ran."""
    done = subprocess.run(
        [str(suite)],
        timeout=300,
        cwd=work,
        check=False,  # its exit status tells nothing
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
    _, found, tail = done.partition("OCI Conformance Result")
    assert found, done[-2000:]
    counts = {k.lower(): int(v) for k, v in re.findall(r"(\w+)[^\n\w]*:\s*(\d+)", tail)}
    summary = ", ".join(f"{name} {count}" for name, count in counts.items())
    failed = sum(count for name, count in counts.items() if name in {"fail", "failed", "error"})
    passed = sum(count for name, count in counts.items() if name in {"pass", "passed"})
    assert passed and not failed, done[-4000:]
    return summary
