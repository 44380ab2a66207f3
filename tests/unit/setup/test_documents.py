"""What the documentation tells people to write by hand is what the command makes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.setup import containerd, containers, docker, k3s
from oci_registry.setup.clients import CLIENTS
from oci_registry.setup.nouns import (
    Authority,
    Configuration,
    Generator,
    Mirror,
    Wanted,
    choose_registries,
)

from .support import HTTP, HTTPS

PROJECT = Path(__file__).parents[3]
HOW_TO = PROJECT / "docs" / "how-to"
_DEFAULT = f"{containerd.FOLDER}/_default/"
BLOCK = re.compile(r"^```(?:json|toml|yaml)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[str]:
    """The snippets of a page."""
    return BLOCK.findall(page.read_text())


def configure(generator: Generator, *names: str) -> Configuration:
    """Generate the configuration of a client that has none yet."""
    registries, _ = choose_registries(names, ())
    return generator(Wanted(Mirror(HTTP), registries, lambda _: None))


class Documents(SynchronousTestCase):
    """The how-tos and the README."""

    def test_containerd(self) -> None:
        """The page of containerd has each of its files, and what config.toml must say."""
        made = configure(containerd.configure, "docker.io")
        for text in (*made.files.values(), *containerd.CONFIG_TOML.values()):
            self.assertIn(text, blocks(HOW_TO / "containerd.md"))
        page = (HOW_TO / "containerd.md").read_text()
        for path in made.files:
            self.assertIn(path, page)

    def test_podman(self) -> None:
        """The page of podman has its file."""
        made = configure(containers.podman, "docker.io", "quay.io")
        self.assertIn(made.files[containers.PATH], blocks(HOW_TO / "cri-o-and-podman.md"))

    def test_k3s(self) -> None:
        """The page of k3s has its file."""
        made = configure(k3s.k3s, "docker.io", "quay.io")
        self.assertIn(made.files[k3s.PATH], blocks(HOW_TO / "k3s.md"))

    def test_authority(self) -> None:
        """The pages of containerd and k3s have what --ca-file adds."""
        for name, page, path in (
            ("containerd", "containerd.md", "/etc/containerd/certs.d/mirror-ca.crt"),
            ("k3s", "k3s.md", "/etc/rancher/mirror-ca.crt"),
        ):
            authority = Authority(path, "")
            wanted = Wanted(Mirror(HTTPS), [], lambda _: None, every=True, authority=authority)
            (text,) = CLIENTS[name](wanted).files.values()
            self.assertIn(f"--ca-file {path}", (HOW_TO / page).read_text())
            shown = blocks(HOW_TO / page)
            self.assertTrue(any(each in shown for each in (text, text[text.find("configs:") :])))

    def test_docker(self) -> None:
        """The page of Docker has the values of its file."""
        made = configure(docker.configure, "docker.io")
        self.assertIn(
            json.loads(made.files[docker.PATH]), map(json.loads, blocks(HOW_TO / "docker.md"))
        )

    def test_ci(self) -> None:
        """The pages about CI and Talos have the files that the command makes."""
        page = (HOW_TO / "ci.md").read_text()
        for generator in (CLIENTS["buildkit"], CLIENTS["kaniko"]):
            made = configure(generator, "docker.io", "quay.io")
            for text in (*made.files.values(), *made.snippets.values()):
                self.assertIn(f"\n{text}```\n", page)
        for name in ("dind", "gitlab"):
            (text,) = configure(CLIENTS[name], "docker.io").snippets.values()
            self.assertIn(f"\n{text}```\n", page)
        (text,) = configure(CLIENTS["talos"], "docker.io", "quay.io").snippets.values()
        self.assertIn(f"```yaml\n{text}```\n", (HOW_TO / "talos.md").read_text())

    def test_readme(self) -> None:
        """The snippets of the README are parts of what the command makes."""
        made = "\n".join(
            text
            for generator in CLIENTS.values()
            for text in configure(generator, "docker.io").files.values()
        )
        page = (PROJECT / "README.md").read_text()
        start = page.index("## Point your clients at it")
        snippets = BLOCK.findall(page[start : page.index("\n## Configuration")])
        self.assertEqual(len(snippets), 3)
        for snippet in snippets:
            text = snippet
            if snippet.startswith("{"):
                text = json.dumps(json.loads(snippet), indent=2).strip("{}\n")
            self.assertIn(text, made)

    def test_paths(self) -> None:
        """The reference names every client and every file."""
        page = (PROJECT / "docs" / "reference" / "command-line.md").read_text()
        for name, generator in CLIENTS.items():
            self.assertIn(f"`{name}`", page)
            for path in configure(generator, "docker.io").files:
                self.assertIn(path.replace("docker.io", "HOST").removeprefix(_DEFAULT), page)
