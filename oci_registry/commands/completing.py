"""``oci-registry completion``: what a shell needs to complete commands and their options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from oci_registry.command_options import STORE_COMMANDS
from oci_registry.commands import COMMANDS
from oci_registry.commands.options import PROGRAM, CommandParser
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, UsageProblem

_PATHS = (
    "--root",
    "--admin-token-file",
    "--output",
    "--since",
    "--upstream-config-file",
    "--ca-file",
    "--from-file",
)
_BASH = """\
# bash completion of oci-registry
_oci_registry() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    COMPREPLY=()
    case $before in
        {paths}) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{commands}" -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
}}
complete -o default -F _oci_registry oci-registry
"""
_ZSH = """\
#compdef oci-registry
# zsh completion of oci-registry
_oci_registry() {{
    local -a commands
    commands=(
{commands}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    case $words[2] in
{cases}
        *) _files ;;
    esac
}}
compdef _oci_registry oci-registry
"""


class _Parser(argparse.ArgumentParser):
    """Raises `UsageProblem`."""

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise UsageProblem(message)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = _Parser(
        prog=f"{PROGRAM} completion",
        allow_abbrev=False,
        description="Print what a shell needs to complete commands and their options.",
    )
    made.add_argument("shell", choices=["bash", "zsh", "fish"])
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    del environ
    shell = parser().parse_args(args).shell
    make = {"bash": bash, "zsh": zsh, "fish": fish}[shell]
    output.line(make().rstrip())
    return DONE


def bash() -> str:
    """Return the completion for bash."""
    cases = [
        f'        {name}) COMPREPLY=($(compgen -W "{" ".join(flags)}" -- "$word")) ;;'
        for name, options in _options().items()
        if (flags := list(options))
    ]
    words = [*COMMANDS, "setup", "filesystem", "s3"]
    return _BASH.format(paths="|".join(_PATHS), commands=" ".join(words), cases="\n".join(cases))


def zsh() -> str:
    """Return the completion for zsh."""
    commands = [f"        '{name}:{_quoted(text)}'" for name, text in STORE_COMMANDS.items()]
    cases = []
    for name, options in _options().items():
        arguments = [
            f"            '{flag}[{_quoted(_bracketed(text))}]{':value:_files' if valued else ''}'"
            for flag, (text, valued) in options.items()
        ]
        cases.append(f"        {name}) _arguments \\")
        cases.append(" \\\n".join([*arguments, "            '*:argument:_files' ;;"]))
    return _ZSH.format(commands="\n".join(commands), cases="\n".join(cases))


def fish() -> str:
    """Return the completion for fish."""
    lines = ["# fish completion of oci-registry"]
    for name, text in STORE_COMMANDS.items():
        first = "complete -c oci-registry -n __fish_use_subcommand"
        lines.append(f"{first} -f -a {name} -d '{_escaped(text)}'")
    for name, options in _options().items():
        for flag, (text, valued) in options.items():
            condition = f"-n '__fish_seen_subcommand_from {name}'"
            value = " -r" if valued else ""
            lines.append(
                f"complete -c oci-registry {condition} -l {flag[2:]}{value} -d '{_escaped(text)}'"
            )
    return "\n".join(lines) + "\n"


def _options() -> dict[str, dict[str, tuple[str, bool]]]:
    """Return the long options of each command: their text, and whether they take a value."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    for name, module in COMMANDS.items():
        made: CommandParser | argparse.ArgumentParser = import_module(
            f"oci_registry.commands.{module}"
        ).parser()
        found[name] = {
            flag: (re.sub(r"\s+", " ", str(action.help or "")), action.nargs != 0)
            for action in made._actions
            for flag in action.option_strings
            if flag.startswith("--")
        }
    return found


def _quoted(text: str) -> str:
    """Return text for between single quotes of zsh, where a colon ends a name."""
    return text.replace("'", "'\\''").replace(":", "\\:")


def _bracketed(text: str) -> str:
    return text.replace("[", "\\[").replace("]", "\\]")


def _escaped(text: str) -> str:
    """Return text for between single quotes of fish."""
    return text.replace("\\", "\\\\").replace("'", "\\'")
