"""Where a command gets its answers from, and what it says about images."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import frozen

from oci_registry.commands import local
from oci_registry.commands.options import CommandParser, Common, parse
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, FAILED, NOT_FOUND, status_of
from oci_registry.management.as_json import Answer
from oci_registry.management.problems import ManagementProblem
from oci_registry.management.rules import Rules
from oci_registry.management.source import Source
from oci_registry.management.subjects import Subject, parse_subject

STATUSES = "0 all done, 1 something could not be done, 3 no such image"
IMAGE = "docker.io/library/x:1, x:1, quay.io/a/b@sha256:..."


@frozen
class Asked:
    """A command line that was read: its own *options*, those of all commands, and where the output goes."""

    options: argparse.Namespace
    common: Common
    output: Output

    def subject(self, text: str) -> Subject:
        """Return the image that an argument names; raise `InvalidName`."""
        return parse_subject(text, self.common.naming.parse)

    @contextmanager
    def reading(self, rules: Rules = Rules()) -> Iterator[Source]:  # noqa: B008 - frozen
        """Give what answers questions."""
        with local.reading(self.common.storage, rules, local.Patience(self.output)) as source:
            yield source

    @contextmanager
    def changing(self) -> Iterator[Source]:
        """Give what also changes the store."""
        with local.changing(self.common.storage, Rules(), local.Patience(self.output)) as source:
            yield source


def read_options(
    parser: CommandParser, args: Sequence[str], environ: Mapping[str, str], output: Output
) -> Asked:
    """Read a command line; raise `UsageProblem`."""
    options, common = parse(parser, args, environ)
    output.json = common.json
    for warning in common.warnings:
        output.note(warning)
    return Asked(options, common, output)


def each_image(
    asked: Asked, texts: Sequence[str], work: Callable[[str], Answer], field: str
) -> int:
    """Do *work* for each argument, and go on with the next if one fails; return the exit status.

    *field*: what the answers are called in the JSON document.
    """
    answers, problems = list[object](), list[ManagementProblem]()
    for text in texts:
        try:
            answers.append(work(text).to_json())
        except ManagementProblem as problem:
            problems.append(problem)
            asked.output.problem(problem.message)
    asked.output.finish({field: answers})
    statuses = {status_of(problem) for problem in problems}
    if not statuses:
        return DONE
    return NOT_FOUND if statuses == {NOT_FOUND} else FAILED
