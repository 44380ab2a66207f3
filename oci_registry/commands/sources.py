"""The sources of a command's answers, and common parts of commands on images."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import frozen

from oci_registry.commands import local
from oci_registry.commands.options import CommandParser, Common, parse
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, FAILED, NOT_FOUND, CommandFailed, status_of
from oci_registry.commands.reaching import find_daemon
from oci_registry.commands.remote import AdminClient, RemoteSource
from oci_registry.management.as_json import Answer
from oci_registry.management.problems import ManagementProblem
from oci_registry.management.rules import Rules
from oci_registry.management.source import Source
from oci_registry.management.subjects import Subject, parse_subject
from oci_registry.storage.interfaces import StoreError

STATUSES = "0 all done, 1 something could not be done, 3 no such image"
IMAGE = "docker.io/library/x:1, x:1, quay.io/a/b@sha256:..."


@frozen
class Asked:
    """A parsed command line: its own *options*, those of all commands, and the output."""

    options: argparse.Namespace
    common: Common
    output: Output
    environ: Mapping[str, str]

    def subject(self, text: str) -> Subject:
        """Return the image that an argument names; raise `InvalidName`."""
        return parse_subject(text, self.common.naming.parse)

    def daemon(self) -> AdminClient | None:
        """Return the running daemon: that of ``--admin``, or of the store; None if none runs there."""
        return find_daemon(self.options, self.common.place, self.environ)

    @contextmanager
    def reading(self, rules: Rules = Rules()) -> Iterator[Source]:  # noqa: B008 - frozen
        """Yield the object that answers questions: the running daemon, or the store itself."""
        daemon = self.daemon()
        if daemon is not None:
            yield RemoteSource(daemon)
            return
        with local.reading(self.common.storage, rules, local.Patience(self.output)) as source:
            yield source

    @contextmanager
    def changing(self, rules: Rules = Rules()) -> Iterator[Source]:  # noqa: B008 - frozen
        """Yield the object that also changes the store: the running daemon, or the store under its lock."""
        daemon = self.daemon()
        if daemon is not None:
            yield RemoteSource(daemon)
            return
        with local.changing(self.common.storage, rules, local.Patience(self.output)) as source:
            yield source


def read_options(
    parser: CommandParser, args: Sequence[str], environ: Mapping[str, str], output: Output
) -> Asked:
    """Read a command line; raise `UsageProblem`."""
    options, common = parse(parser, args, environ)
    output.json = common.json
    for warning in common.warnings:
        output.note(warning)
    return Asked(options, common, output, environ)


def each_image(
    asked: Asked, texts: Sequence[str], work: Callable[[str], Answer], field: str
) -> int:
    """Do *work* for each argument, and continue with the next if one fails; return the exit status.

    If the daemon cannot be reached any more, the rest is skipped. *field*: the field of the answers in
    the JSON document, which is printed with everything that was done, even after an error.
    """
    answers, statuses = list[object](), set[int]()
    try:
        for text in texts:
            try:
                answers.append(work(text).to_json())
            except ManagementProblem as problem:
                statuses.add(status_of(problem))
                asked.output.problem(problem.message)
            except StoreError as error:
                statuses.add(FAILED)
                asked.output.problem(f"{text}: {error}")
    except CommandFailed as error:
        statuses.add(FAILED)
        for said in error.problems:
            asked.output.problem(said)
    except KeyboardInterrupt:
        asked.output.finish({field: answers})
        raise
    asked.output.finish({field: answers})
    if not statuses:
        return DONE
    return NOT_FOUND if statuses == {NOT_FOUND} else FAILED
