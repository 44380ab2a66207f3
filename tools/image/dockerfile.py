"""The Dockerfile, read: as much of the language as the project's own uses."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

from attrs import define, field, frozen

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_KNOWN = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN",
    "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip


class NotUnderstood(Exception):
    """The file has something that is not known here."""


@frozen
class Instruction:
    """A word in capitals and what follows it, on one line."""

    word: str
    text: str

    def words(self) -> list[str]:
        """Return what follows, as a JSON array or as words."""
        if self.text.startswith("["):
            return [str(each) for each in json.loads(self.text)]
        return shlex.split(self.text)


@define
class Stage:
    """What stands from one ``FROM`` to the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(factory=list)

    def last(self, word: str) -> Instruction:
        """Return the last instruction of a kind, which counts; KeyError if there is none."""
        for instruction in reversed(self.instructions):
            if instruction.word == word:
                return instruction
        raise KeyError(word)

    def command(self) -> list[str]:
        """Return the command that a container is started with."""
        return [*self.last("ENTRYPOINT").words(), *self.last("CMD").words()]

    def health_check(self) -> list[str]:
        """Return the command that tells whether a container is well."""
        _, cmd, command = self.last("HEALTHCHECK").text.partition(" CMD ")
        if not cmd:
            raise NotUnderstood("HEALTHCHECK without CMD")
        return Instruction("CMD", command.strip()).words()

    def environment(self, start: str) -> dict[str, str]:
        """Return the variables of a container, with *start* for the base image's ``PATH``."""
        made = {"PATH": start}
        for instruction in self.instructions:
            if instruction.word == "ENV":
                for pair in instruction.words():
                    name, equals, value = pair.partition("=")
                    if not equals:
                        raise NotUnderstood(f"ENV {pair}")
                    made[name] = expand(value, made)
        return made


def expand(text: str, variables: dict[str, str]) -> str:
    """Return a text with variables in place; one that is not set is empty."""
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], ""), text)


def _lines(text: str) -> list[str]:
    """Return the instructions, each on one line, without comments."""
    joined: list[str] = []
    going_on = False
    for line in text.splitlines():
        if line.lstrip().startswith("#") or (not line.strip() and not going_on):
            continue
        part = line.strip()
        more = part.endswith("\\")
        part = part.removesuffix("\\").strip()
        if going_on:
            joined[-1] = f"{joined[-1]} {part}"
        else:
            joined.append(part)
        going_on = more
    return joined


def parse(text: str) -> list[Stage]:
    """Return the stages of a Dockerfile; `NotUnderstood` says what is not known here."""
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for line in _lines(text):
        word, _, rest = line.partition(" ")
        word, rest = word.upper(), rest.strip()
        if word not in _KNOWN:
            raise NotUnderstood(line)
        if word == "FROM":
            base, _, name = expand(rest, arguments).partition(" AS ")
            stages.append(Stage(base.strip(), name.strip()))
        elif stages:
            stages[-1].instructions.append(Instruction(word, rest))
        elif word == "ARG":
            name, _, value = rest.partition("=")
            arguments[name] = value
        else:
            raise NotUnderstood(f"{line}, before FROM")
    return stages


def ignored(text: str) -> tuple[list[str], list[str]]:
    """Return what a ``.dockerignore`` lets in, at the top, and which names it leaves out everywhere.

    It has to leave out everything first.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    if not lines or lines[0] != "*":
        raise NotUnderstood(".dockerignore does not begin with *")
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    left_out = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    if 1 + len(allowed) + len(left_out) != len(lines):
        raise NotUnderstood(".dockerignore has other patterns")
    return allowed, left_out


def only(stages: Sequence[Stage], name: str) -> Stage:
    """Return the stage of a name."""
    (found,) = (stage for stage in stages if stage.name == name)
    return found
