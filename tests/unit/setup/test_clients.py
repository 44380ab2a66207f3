"""What goes for several clients: a certificate authority of the mirror, and the entry for all registries."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path

import yaml

from oci_registry.setup.clients import CLIENTS, EVERY
from oci_registry.setup.nouns import Configuration, Mirror, Wanted, choose_registries
from tests.support.certificates import Certified
from tests.unit.setup.support import AUTHORITY, HTTPS
from tests.unit.setup.test_command import MIRROR, CommandTestCase

HOST = "mirror.example:8443"
DOCKER = f"/etc/docker/certs.d/{HOST}/ca.crt"
PODMAN = f"/etc/containers/certs.d/{HOST}/ca.crt"


class Trust(CommandTestCase):
    """--ca-file."""

    def made(self, client: str, *names: str, existing: str | None = None) -> Configuration:
        """The configuration of a client that is to trust the authority, with one file of its own."""
        registries, _ = choose_registries(names or ["docker.io"], ())
        data = None if existing is None else existing.encode()
        wanted = Wanted(Mirror(HTTPS), registries, lambda _: data, authority=AUTHORITY)
        return CLIENTS[client](wanted)

    def authority(self, text: str | None = None) -> str:
        """A file with a certificate, or with a text."""
        path = self.folder / "ca.pem"
        path.write_text(Certified("ours").certificate.decode() if text is None else text)
        return str(path)

    def test_every_client(self) -> None:
        """Each client gets the path, or the certificate, or is told where it has to be."""
        for client in CLIENTS:
            made = self.made(client)
            said = "\n".join(
                [*made.files, *made.files.values(), *made.snippets.values(), *made.notes]
            )
            coded = base64.b64encode(AUTHORITY.text.encode()).decode()
            named = (AUTHORITY.path, AUTHORITY.text, coded, DOCKER)
            self.assertTrue(any(each in said for each in named), client)

    def test_containerd(self) -> None:
        """containerd's tables of the mirror name it."""
        files = self.made("containerd").files
        self.assertEqual(2, len(files))
        for text in files.values():
            self.assertEqual(AUTHORITY.path, tomllib.loads(text)["host"][HTTPS]["ca"])

    def test_k3s(self) -> None:
        """k3s has it among its configs, whose other contents stay, and once is enough."""
        text = "configs: {'" + HOST + "': {auth: {username: a}, tls: {cert_file: c}}, b: {}}\n"
        (merged,) = self.made("k3s", existing=text).files.values()
        entry = {
            "auth": {"username": "a"},
            "tls": {"cert_file": "c", "ca_file": AUTHORITY.path},
        }
        self.assertEqual({HOST: entry, "b": {}}, yaml.safe_load(merged)["configs"])
        self.assertEqual([merged], list(self.made("rke2", existing=merged).files.values()))

    def test_buildkit(self) -> None:
        """BuildKit has a table for the mirror, and one that lacks it is for its owner to change."""
        (text,) = self.made("buildkit").files.values()
        table = {"ca": [AUTHORITY.path]}
        self.assertEqual(table, tomllib.loads(text)["registry"][HOST])
        self.assertEqual([text], list(self.made("buildkit", existing=text).files.values()))

    def test_copies(self) -> None:
        """podman, CRI-O and Docker get a copy of the file, where they look for the mirror's."""
        for client, path in (("podman", PODMAN), ("crio", PODMAN), ("docker", DOCKER)):
            self.assertEqual(AUTHORITY.text, self.made(client).files[path])
        self.assertEqual({DOCKER: AUTHORITY.text}, self.made("docker", "quay.io").files)

    def test_arguments(self) -> None:
        """kaniko has a flag; for dockerd in a container a note says where the file belongs."""
        (text,) = self.made("kaniko").snippets.values()
        self.assertIn(f"--registry-certificate={HOST}={AUTHORITY.path}\n", text)
        for client in ("dind", "gitlab"):
            self.assertIn(DOCKER, "".join(self.made(client).notes))

    def test_talos(self) -> None:
        """Talos has the certificate in its patch."""
        (text,) = self.made("talos").snippets.values()
        config = yaml.safe_load(text)["machine"]["registries"]["config"]
        self.assertEqual(AUTHORITY.text, base64.b64decode(config[HOST]["tls"]["ca"]).decode())

    def test_removed(self) -> None:
        """A copy is removed with everything else that setup has written."""
        path, root = self.authority(), self.folder / "root"
        options = ("--mirror", HTTPS, "--ca-file", path, "--write", str(root))
        self.run_command("docker", *options)
        self.assertEqual(Path(path).read_text(), (root / DOCKER[1:]).read_text())
        out, _ = self.run_command("docker", *options)
        self.assertEqual(2, out.count(": unchanged"))
        self.run_command("docker", "--remove", str(root))
        self.assertEqual([], [each for each in root.rglob("*") if each.is_file()])

    def test_refused(self) -> None:
        """What is no certificate, or what nobody may have, is a problem, as is a mirror without TLS."""
        key = Certified("ours")
        for text, reason in (
            ("", "contains no PEM certificates"),
            ("-----BEGIN CERTIFICATE-----", "contains no PEM certificates"),
            ((key.certificate + key.key).decode(), "contains a private key"),
        ):
            problem = self.problems("podman", "--mirror", HTTPS, "--ca-file", self.authority(text))
            self.assertIn(reason, "".join(problem))
        self.assertEqual(
            ["--ca-file: /nowhere cannot be read: No such file or directory"],
            self.problems("podman", "--mirror", HTTPS, "--ca-file", "/nowhere"),
        )
        self.assertEqual(
            ["--ca-file: requires a mirror with https"],
            self.problems("podman", *MIRROR, "--ca-file", self.authority()),
        )


class Every(CommandTestCase):
    """An entry for all registries in the upstream file."""

    def test_told(self) -> None:
        """Clients that can ask for all registries do; the others are told to name them."""
        path = self.upstream_file('- {namespace: "*", host: mirror.lan}\n')
        for client in CLIENTS:
            out, notes = self.run_command(client, *MIRROR, UPSTREAM_CONFIG_FILE=path)
            self.assertEqual(client in EVERY, MIRROR[1] in out, client)
            told = any("with --namespace" in note for note in notes)
            self.assertEqual(client not in EVERY, told, client)

    def test_k3s(self) -> None:
        """k3s has the name "*", with a note of the release that it needs; unless only names are wanted."""
        path = self.upstream_file(
            '- {namespace: quay.io, host: quay.io}\n- {namespace: "*", host: mirror.lan}\n'
        )
        for client in ("k3s", "rke2"):
            out, notes = self.run_command(client, *MIRROR, UPSTREAM_CONFIG_FILE=path)
            self.assertEqual({"quay.io", "*"}, set(yaml.safe_load(out)["mirrors"]))
            self.assertIn("1.29.1", "".join(notes))
            for more in (["--no-default"], ["--namespace", "quay.io"]):
                out, notes = self.run_command(client, *MIRROR, *more, UPSTREAM_CONFIG_FILE=path)
                self.assertEqual({"quay.io"}, set(yaml.safe_load(out)["mirrors"]))
                self.assertNotIn("1.29.1", "".join(notes))

    def test_talos(self) -> None:
        """Talos has the name "*" for all registries."""
        path = self.upstream_file('- {namespace: "*", host: mirror.lan}\n')
        out, _ = self.run_command("talos", *MIRROR, UPSTREAM_CONFIG_FILE=path)
        self.assertEqual(["*"], list(yaml.safe_load(out)["machine"]["registries"]["mirrors"]))


class Again(CommandTestCase):
    """A second run, with another mirror."""

    def test_other_mirror(self) -> None:
        """The first mirror does not stay in files that setup has written; what was there before does."""
        root = self.folder / "root"
        path = root / "etc/docker/daemon.json"
        path.parent.mkdir(parents=True)
        path.write_text('{"debug": true}')
        for url in ("http://a.example", "http://b.example"):
            for client in ("docker", "k3s", "buildkit", "containerd"):
                self.run_command(client, "--mirror", url, "--write", str(root))
        everything = "".join(
            each.read_text() for each in (root / "etc").rglob("*") if each.is_file()
        )
        self.assertNotIn("a.example", everything)
        self.assertTrue(json.loads(path.read_text())["debug"])
