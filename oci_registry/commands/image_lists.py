"""Lists of images: in files, and of the pods in a cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from oci_registry.commands.problems import CommandFailed

PODS = ("kubectl", "get", "pods", "--all-namespaces", "--output", "json")
LARGEST = 256 * 1024 * 1024
"""The maximum size of a list in bytes; a large cluster has some 50 MiB of pods."""
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def read_list(path: str, stdin: TextIO | None = None) -> list[str]:
    """Return the images in a file, or in standard input (``-``).

    There is one on each line, with comments after ``#``; or it is the output of ``kubectl get pods -o json``.
    """
    if path == "-":
        text, name = (stdin or sys.stdin).read(LARGEST + 1), "standard input"
    else:
        try:
            with open(path, encoding="utf-8") as file:
                text, name = file.read(LARGEST + 1), path
        except UnicodeDecodeError:
            raise CommandFailed(f"{path}: it is not text") from None
    if len(text) > LARGEST:
        raise CommandFailed(f"{name}: it is larger than {LARGEST} bytes")
    if text.lstrip().startswith("{"):
        return images_of_pods(text, name)
    return [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]


def images_of_pods(text: str, name: str) -> list[str]:
    """Return the images of a list of pods in JSON, each once; `CommandFailed` names the list."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise CommandFailed(f"{name}: it is not JSON") from None
    items = document.get("items", [document]) if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise CommandFailed(f"{name}: it is not a list of pods")
    return list(dict.fromkeys(image for item in items for image in _images(item)))


def _images(item: object) -> Iterator[str]:
    spec = item.get("spec") if isinstance(item, Mapping) else None
    template = spec.get("template") if isinstance(spec, Mapping) else None
    if isinstance(template, Mapping):
        # A Deployment or a similar object.
        yield from _images(template)
    for key in _CONTAINERS:
        containers = spec.get(key) if isinstance(spec, Mapping) else None
        for container in containers if isinstance(containers, list) else ():
            image = container.get("image") if isinstance(container, Mapping) else None
            if isinstance(image, str) and image:
                yield image


def _kubectl(command: Sequence[str]) -> str:
    program = shutil.which(command[0])
    if program is None:
        raise CommandFailed(
            "--from-kubernetes needs kubectl, which was not found; or run it elsewhere: kubectl get pods "
            "--all-namespaces --output json | oci-registry warm --from-file - ..."
        )
    ran = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)  # noqa: S603 - constant
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or [f"it exited with status {ran.returncode}"]
        raise CommandFailed(f"kubectl: {lines[-1]}")
    return ran.stdout


def from_kubernetes(run: Callable[[Sequence[str]], str] = _kubectl) -> list[str]:
    """Return the images of all pods in the cluster that kubectl is configured for."""
    return images_of_pods(run(PODS), "kubectl get pods")
