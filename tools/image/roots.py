"""Root file systems in which this machine stands in for the base image.

Everything here is for a mount namespace of its own: what is mounted is seen, and unmounted in the end, by
nobody else.  **Never remove such a root from inside**: the machine's own directories are mounted in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.image.dockerfile import Instruction, NotUnderstood, Stage, ignored

SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "dev")
"""What a base image has too."""
PASSED_ON = ("PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL")
"""How a package index is reached from here."""
BASE_PATH = ":".join(
    [
        f"{sys.base_prefix}/bin",
        *("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),
        "/base",
    ]
)
"""``PATH`` of the base image; the last has ``python``, for machines that know it by another name."""


def run(*command: str | Path, **more: object) -> None:
    """Run a command, which must succeed."""
    subprocess.run([str(each) for each in command], check=True, **more)  # type: ignore[call-overload]  # noqa: S603


class Root:
    """A directory that is the root of a stage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        for name in SYSTEM:
            source = Path("/", name)
            if source.is_symlink():
                (path / name).symlink_to(os.readlink(source))
            elif source.is_dir():
                self._bind(source)
        base = Path(sys.base_prefix).resolve()
        if not base.is_relative_to("/usr"):
            self._bind(base)
        # Instructions change it.
        shutil.copytree("/etc", path / "etc", symlinks=True)
        for name in ("proc", "tmp", "var/tmp", "opt", "base"):
            (path / name).mkdir(parents=True)
        (path / "base" / "python").symlink_to(Path(sys.executable).resolve())
        (path / "tmp").chmod(0o1777)
        run("mount", "--bind", "/proc", path / "proc")

    def _bind(self, source: Path) -> None:
        target = self.inside(str(source))
        target.mkdir(parents=True)
        run("mount", "--bind", source, target)
        run("mount", "--options", "remount,bind,ro", target)

    def inside(self, path: str) -> Path:
        """Return where an absolute path of the root is."""
        return self.path / path.lstrip("/")

    def command(self, environment: Mapping[str, str], *command: str) -> list[str]:
        """Return a command for what is to be run in the root."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        return ["chroot", str(self.path), "/usr/bin/env", "-i", *variables, *command]

    def make(self, stage: Stage, context: Path, others: Mapping[str, Root]) -> None:
        """Follow the instructions of a stage; `context` is the directory with the Dockerfile."""
        workdir = "/"
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= stage.environment(BASE_PATH)
        for instruction in stage.instructions:
            if instruction.word == "WORKDIR":
                workdir = instruction.text
                self.inside(workdir).mkdir(parents=True, exist_ok=True)
            elif instruction.word == "RUN":
                print(f"RUN {instruction.text}", flush=True)
                script = f"cd {workdir}\n{instruction.text}"
                run(*self.command(environment, "/bin/sh", "-ec", script))
            elif instruction.word == "COPY":
                self._copy(instruction, workdir, context, others)

    def _copy(
        self, instruction: Instruction, workdir: str, context: Path, others: Mapping[str, Root]
    ) -> None:
        words: Sequence[str] = instruction.words()
        if words[0].startswith("--from="):
            option, source, target = words
            other = others[option.removeprefix("--from=")]
            # Times of files are kept, as engines keep them: twistd compares them.
            run("cp", "--archive", other.inside(source), self.inside(target))
            return
        *sources, target = words
        if not target.startswith("."):
            raise NotUnderstood(f"COPY {instruction.text}")
        allowed, left_out = ignored((context / ".dockerignore").read_text("utf-8"))
        into = self.inside(workdir)
        for name in allowed if list(sources) == ["."] else sources:
            path = context / name
            if name not in allowed:
                raise NotUnderstood(f"{name} is left out by .dockerignore")
            if path.is_dir():
                shutil.copytree(path, into / name, ignore=shutil.ignore_patterns(*left_out))
            else:
                shutil.copy2(path, into / name)

    def freeze(self, writable: str) -> None:
        """Make all of it read-only, but for a directory and an empty ``/tmp``."""
        run("mount", "--rbind", self.path, self.path)
        run("mount", "--bind", self.inside(writable), self.inside(writable))
        run("mount", "--options", "remount,bind,ro", self.path)
        run("mount", "--types", "tmpfs", "--options", "mode=1777", "tmpfs", self.path / "tmp")
