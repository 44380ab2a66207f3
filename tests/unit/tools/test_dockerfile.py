"""The Dockerfile, read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry import __version__
from tools.image.dockerfile import (
    NotUnderstood,
    expand,
    ignored,
    only,
    parse,
)

ROOT = Path(__file__).parents[3]
SAMPLE = """
# a comment
ARG PYTHON=3.13
FROM example.com/python:${PYTHON}-slim AS build
RUN one \\
    # in between
    && two

FROM scratch
ENV PATH=/opt/bin:$PATH GREETING="good day" \\
    EMPTY=
ENTRYPOINT ["run", "--flag="]
CMD ["a b"]
CMD ["c"]
HEALTHCHECK --interval=1s CMD ["check", "it's; well"]
"""


class Parsing(SynchronousTestCase):
    """parse and what comes of it."""

    def test_stages(self) -> None:
        """Each FROM begins a stage, with the arguments before the first in its base."""
        build, last = parse(SAMPLE)
        self.assertEqual(("example.com/python:3.13-slim", "build"), (build.base, build.name))
        self.assertEqual(("scratch", ""), (last.base, last.name))
        self.assertIs(build, only([build, last], "build"))

    def test_lines(self) -> None:
        """Continued lines are joined, without the comments between them."""
        self.assertEqual("one && two", parse(SAMPLE)[0].last("RUN").text)

    def test_command(self) -> None:
        """The command is the entry point and the last CMD."""
        self.assertEqual(["run", "--flag=", "c"], parse(SAMPLE)[1].command())

    def test_health_check(self) -> None:
        """The check is what stands behind CMD."""
        self.assertEqual(["check", "it's; well"], parse(SAMPLE)[1].health_check())
        with self.assertRaises(NotUnderstood):
            parse("FROM a\nHEALTHCHECK NONE")[0].health_check()

    def test_environment(self) -> None:
        """Variables may refer to those before them, and to the base image's PATH."""
        expected = {"PATH": "/opt/bin:/bin", "GREETING": "good day", "EMPTY": ""}
        self.assertEqual(expected, parse(SAMPLE)[1].environment("/bin"))
        with self.assertRaises(NotUnderstood):
            parse("FROM a\nENV old style")[0].environment("/bin")

    def test_missing(self) -> None:
        """What is not there is an error, not nothing."""
        with self.assertRaises(KeyError):
            parse("FROM a")[0].last("USER")

    def test_expand(self) -> None:
        """A variable that is not set is empty."""
        self.assertEqual("a1b", expand("a${X}b$Y", {"X": "1"}))

    def test_not_understood(self) -> None:
        """What is not known is refused, and so is what stands before the first FROM."""
        for text in ("FROM a\nONBUILD RUN x", "RUN x\nFROM a"):
            with self.assertRaises(NotUnderstood):
                parse(text)


class Ignoring(SynchronousTestCase):
    """ignored."""

    def test_patterns(self) -> None:
        """What is let in at the top, and what is left out everywhere."""
        text = "# c\n*\n!a\n!b.toml\n**/x.cache\n"
        self.assertEqual((["a", "b.toml"], ["x.cache"]), ignored(text))

    def test_others(self) -> None:
        """Other patterns are refused, and so is a file that lets in everything."""
        for text in ("a\n", "", "*\n!a\nb/c\n"):
            with self.assertRaises(NotUnderstood):
                ignored(text)


class Own(SynchronousTestCase):
    """The project's Dockerfile."""

    def setUp(self) -> None:
        self.stages = parse((ROOT / "Dockerfile").read_text("utf-8"))

    def test_version(self) -> None:
        """The image says which version is in it."""
        arguments = [i.text for i in self.stages[-1].instructions if i.word == "ARG"]
        self.assertIn(f"VERSION={__version__}", arguments)

    def test_as_the_chart_has_it(self) -> None:
        """The image runs what the chart runs, as the same user, in the same place."""
        last = self.stages[-1]
        values = (ROOT / "charts" / "oci-registry" / "values.yaml").read_text("utf-8")
        user, _, group = last.last("USER").text.partition(":")
        self.assertIn(f"runAsUser: {user}\n", values)
        self.assertIn(f"runAsGroup: {group}\n", values)
        environment = last.environment("")
        self.assertIn(f"path: {environment['FILESYSTEM_ROOT']}\n", values)
        port = environment["LISTEN"].rpartition(":")[2]
        self.assertIn(f"containerPort: {port}\n", values)
        pod = (ROOT / "charts" / "oci-registry" / "templates" / "_pod.tpl").read_text("utf-8")
        self.assertIn(f"command: [{', '.join(last.last('ENTRYPOINT').words())}]\n", pod)

    def test_pinned(self) -> None:
        """Everything that is installed is locked, with its hash."""
        for lock in ("requirements.lock", "requirements-build.lock"):
            entries = (ROOT / lock).read_text("utf-8").replace("\\\n", " ").splitlines()
            entries = [each for each in entries if each and each[0] not in "# "]
            self.assertTrue(entries)
            for each in entries:
                self.assertRegex(each, r"^[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}")
        commands = [i.text for i in self.stages[0].instructions if i.word == "RUN"]
        installing = [part for each in commands for part in each.split("&&") if " install " in part]
        for part in installing:
            self.assertTrue("--require-hashes" in part or "--no-index --no-deps" in part, part)
        self.assertEqual(3, len(installing))

    def test_complete(self) -> None:
        """What the project says it needs is in the lock, in a version that it allows."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        locked = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.M))
        for needed in project["project"]["dependencies"]:
            found = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?>=([0-9.]+)", needed)
            assert found is not None, needed
            version = locked.get(re.sub(r"[-_.]+", "-", found[1]).lower())
            self.assertIsNotNone(version, needed)
            has, needs = (
                [int(each) for each in re.findall(r"\d+", text)] for text in (version, found[2])
            )
            self.assertTrue(has >= needs, needed)
