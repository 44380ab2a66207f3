"""How a command is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TextIO

from oci_registry.commands import COMMANDS
from oci_registry.commands.options import PROGRAM
from oci_registry.commands.output import Output, progress_on
from oci_registry.commands.problems import FAILED, USAGE, CommandFailed, UsageProblem, status_of
from oci_registry.management.problems import ManagementProblem
from oci_registry.storage.interfaces import StoreError

Run = Callable[[Sequence[str], Mapping[str, str], Output], int]
"""Runs a command with its arguments, the environment and its output; returns the exit status."""
INTERRUPTED = 130


def run(
    name: str, args: Sequence[str], environ: Mapping[str, str], out: TextIO, err: TextIO
) -> int:
    """Run a command; return the exit status."""
    try:
        status = _run(name, args, environ, out, err)
        out.flush()
    except BrokenPipeError:
        # The reader has seen enough, as `head` has.
        return _reader_has_gone(out)
    return status


def _run(
    name: str, args: Sequence[str], environ: Mapping[str, str], out: TextIO, err: TextIO
) -> int:
    """Run a command; return the exit status, or raise `BrokenPipeError`."""
    module = import_module(f"oci_registry.commands.{COMMANDS[name]}")
    output = Output(name, out, err, progress=progress_on(err))
    command: Run = module.run
    try:
        return command(args, environ, output)
    except UsageProblem as error:
        for problem in error.problems:
            output.note(problem)
        output.note(f"{PROGRAM} {name} --help shows all options")
        return USAGE
    except CommandFailed as error:
        output.progress.end()
        for problem in error.problems:
            output.problem(problem)
    except ManagementProblem as error:
        output.progress.end()
        output.problem(error.message)
        output.finish({})
        return status_of(error)
    except BrokenPipeError:
        raise
    except (StoreError, OSError) as error:
        output.progress.end()
        output.problem(_text(error))
    except KeyboardInterrupt:
        output.progress.end()
        output.note("interrupted")
        return INTERRUPTED
    output.finish({})
    return FAILED


def _reader_has_gone(out: TextIO) -> int:
    """End quietly: what is left is written to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out.fileno())
    os.close(nowhere)
    return FAILED


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
