"""The workflow that makes a release of a tag."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[3]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"


class Release(SynchronousTestCase):
    """.github/workflows/release.yml."""

    def setUp(self) -> None:
        self.text = WORKFLOW.read_text("utf-8")
        self.jobs: dict[str, Any] = yaml.safe_load(self.text)["jobs"]

    def scripts(self, job: str) -> str:
        """Return all that a job runs."""
        return "\n".join(step.get("run", "") for step in self.jobs[job]["steps"])

    def before(self, job: str) -> set[str]:
        """Return the jobs that have succeeded before one begins."""
        needs = self.jobs[job].get("needs", [])
        needed = {needs} if isinstance(needs, str) else set(needs)
        return needed.union(*(self.before(each) for each in needed))

    def test_tested(self) -> None:
        """Nothing is published before everything has been tested."""
        for job in ("image", "chart", "publish-wheel"):
            self.assertLessEqual({"version", "test", "check"}, self.before(job), job)

    def test_targets(self) -> None:
        """What is called of the Makefile is there, and all of its checks are called."""
        called = set(re.findall(r"\bmake ([\w-]+)", "".join(map(self.scripts, self.jobs))))
        (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
        self.assertLessEqual(called, set(phony.split()))
        self.assertEqual({"test", "lint", "types", "docs", "chart"}, called)

    def test_versions(self) -> None:
        """The tag has to be the version that the files have, where the workflow looks."""
        for file, line in (
            (ROOT / "charts" / "oci-registry" / "Chart.yaml", 'appVersion: "{}"'),
            (ROOT / "Dockerfile", "ARG VERSION={}"),
        ):
            pattern = re.escape(line).replace(r"\{\}", r"[0-9.]+")
            self.assertRegex(file.read_text("utf-8"), rf"(?m)^{pattern}$")
            escaped = line.format("$version").replace('"', '\\"')
            self.assertIn(f'grep -Fx "{escaped}" {file.relative_to(ROOT)}', self.scripts("version"))

    def test_values(self) -> None:
        """The chart's image is where the workflow puts the one that it has published."""
        values = (ROOT / "charts" / "oci-registry" / "values.yaml").read_text("utf-8")
        patterns = re.findall(r"s\|(\^.*?\$)\|", self.scripts("chart"))
        self.assertTrue(patterns)
        for pattern in patterns:
            found = re.findall(pattern.replace('\\"', '"'), values, re.M)
            self.assertEqual(1, len(found), pattern)

    def test_platforms(self) -> None:
        """The image is for both platforms, and each is tried before both are pushed."""
        steps = self.jobs["image"]["steps"]
        (push,) = [step["with"] for step in steps if step.get("id") == "push"]
        self.assertEqual("linux/amd64,linux/arm64", push["platforms"])
        self.assertIn("for platform in linux/amd64 linux/arm64", self.scripts("image"))

    def test_signed(self) -> None:
        """Image and chart are signed by digest, with the identity of the workflow, which little else has."""
        for job in self.jobs:
            signs = "cosign sign --yes" in self.scripts(job)
            self.assertEqual(job in ("image", "chart"), signs, job)
            if signs:
                self.assertRegex(self.scripts(job), r"cosign sign .*@\$\w*DIGEST\"")
            rights = self.jobs[job].get("permissions", {})
            self.assertEqual(signs or job == "publish-wheel", "id-token" in rights, job)
        self.assertEqual({"contents": "read"}, yaml.safe_load(self.text)["permissions"])
