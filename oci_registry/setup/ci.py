"""Builds in containers (kaniko, Docker-in-Docker, GitLab's runners), which take arguments and no files."""

from __future__ import annotations

import json

from oci_registry.setup.docker import CERTIFICATES
from oci_registry.setup.nouns import Configuration, Wanted

_HUB = "docker.io"
_ALWAYS_FALLS_BACK = "Docker always falls back to Docker Hub: --no-fallback has no effect"


def kaniko(wanted: Wanted) -> Configuration:
    """Return arguments of the executor: the mirror of docker.io, and maps of other registries."""
    host = wanted.mirror.host
    arguments, notes = [], []
    for registry in wanted.registries:
        if registry.name == _HUB:
            arguments.append(f"--registry-mirror={host}")
        elif ":" in registry.name:
            notes.append(f"{registry.name} is ignored: kaniko cannot mirror a registry with a port")
        else:
            arguments.append(f"--registry-map={registry.name}={host}/{registry.name}")
    if arguments and wanted.mirror.insecure:
        arguments.append(f"--insecure-registry={host}")
    if arguments and wanted.authority is not None:
        arguments.append(f"--registry-certificate={host}={wanted.authority.path}")
        notes.append(f"mount {wanted.authority.path} into kaniko's container at the same path")
    if arguments and not wanted.fallback:
        arguments.append("--skip-default-registry-fallback")
    title = "arguments of the kaniko executor"
    return Configuration(snippets=_lines(title, arguments), notes=tuple(notes))


def dind(wanted: Wanted) -> Configuration:
    """Return arguments of dockerd in its container."""
    flags = _dockerd(wanted)
    arguments = [f"{flag}={value}" for flag, value in flags]
    title = "arguments of the docker:dind container"
    notes = _docker_notes(wanted)
    if wanted.authority is not None:
        place = _place(wanted)
        notes = (*notes, f"mount {wanted.ca} into the container as {place}")
    return Configuration(snippets=_lines(title, arguments), notes=notes)


def gitlab(wanted: Wanted) -> Configuration:
    """Return a service of GitLab's runner, for jobs that build with Docker-in-Docker."""
    notes = (
        *_docker_notes(wanted),
        "set up the Docker daemon or the nodes that run the jobs too: they pull the jobs' images",
    )
    if wanted.authority is not None:
        volume = json.dumps(f"{CERTIFICATES}:{CERTIFICATES}:ro")
        notes = (
            *notes,
            (
                f"copy {wanted.ca} to {_place(wanted)} on the runner, and add {volume} to the volumes in "
                "[runners.docker]"
            ),
        )
    words = [word for flag in _dockerd(wanted) for word in flag]
    if not words:
        return Configuration(notes=notes)
    text = (
        '[[runners.docker.services]]\n  name = "docker:dind"\n  alias = "docker"\n'
        f"  command = {json.dumps(words)}\n"
    )
    title = "/etc/gitlab-runner/config.toml, in the section [[runners]]"
    return Configuration(snippets={title: text}, notes=notes)


def _place(wanted: Wanted) -> str:
    """Return where dockerd in its container looks for the mirror's certificate authority."""
    return f"{CERTIFICATES}/{wanted.mirror.host}/ca.crt"


def _dockerd(wanted: Wanted) -> list[tuple[str, str]]:
    mirror = wanted.mirror
    flags = []
    if any(registry.name == _HUB for registry in wanted.registries):
        flags.append(("--registry-mirror", mirror.url))
    if mirror.insecure:
        flags.append(("--insecure-registry", mirror.host))
    return flags


def _docker_notes(wanted: Wanted) -> tuple[str, ...]:
    others = tuple(
        f"Docker mirrors docker.io only: pull from {registry.name} as "
        f"{wanted.mirror.host}/{registry.name}/..."
        for registry in wanted.registries
        if registry.name != _HUB and ":" not in registry.name
    )
    return others if wanted.fallback else (*others, _ALWAYS_FALLS_BACK)


def _lines(title: str, arguments: list[str]) -> dict[str, str]:
    return {title: "".join(f"{each}\n" for each in arguments)} if arguments else {}
