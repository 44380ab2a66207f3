"""The command, from its arguments to its output."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry import __main__
from oci_registry.setup import command
from oci_registry.setup.checking import Asking, CheckFailed, Image
from oci_registry.setup.clients import CLIENTS
from oci_registry.setup.command import run
from oci_registry.setup.nouns import Mirror

MIRROR = ("--mirror", "http://mirror.example:8080")
SECRET = "Tr0ub4dor"


class CommandTestCase(SynchronousTestCase):
    """Runs the command with a directory of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.root = self.folder / "root"

    def run_command(self, *args: str, status: int = 0, **environ: str) -> tuple[str, list[str]]:
        """What is said on stdout, and the lines on stderr without the name of the command."""
        out, err = StringIO(), StringIO()
        self.assertEqual(run(args, environ, out, err), status, err.getvalue())
        self.assertNotIn(SECRET, out.getvalue() + err.getvalue())
        lines = err.getvalue().splitlines()
        return out.getvalue(), [line.removeprefix("oci-registry setup: ") for line in lines]

    def problems(self, *args: str, **environ: str) -> list[str]:
        """What is wrong; then nothing is done."""
        out, lines = self.run_command(*args, status=1, **environ)
        self.assertEqual(out, "")
        return lines

    def upstream_file(self, text: str) -> str:
        path = self.folder / "upstreams.yaml"
        path.write_text(text)
        path.chmod(0o600)
        return str(path)


class Printing(CommandTestCase):
    """Without --write."""

    def test_printed(self) -> None:
        """Each file is headed by its path; a blank line is between them, and notes are elsewhere."""
        out, notes = self.run_command("containerd", *MIRROR)
        self.assertEqual(
            out,
            "# /etc/containerd/certs.d/docker.io/hosts.toml\n"
            'server = "https://registry-1.docker.io"\n\n'
            '[host."http://mirror.example:8080"]\n  capabilities = ["pull", "resolve"]\n\n'
            "# /etc/containerd/certs.d/_default/hosts.toml\n"
            '[host."http://mirror.example:8080"]\n  capabilities = ["pull", "resolve"]\n',
        )
        self.assertIn("/etc/containerd/config.toml must name", notes[0])

    def test_as_new(self) -> None:
        """What this machine has is not read, and so nothing of it is shown."""
        path = self.root / "etc/docker/daemon.json"
        path.parent.mkdir(parents=True)
        path.write_text(f'{{"proxies": "{SECRET}"}}')
        out, _ = self.run_command("docker", *MIRROR)
        heading, _, document = out.partition("\n")
        self.assertEqual(heading, "# /etc/docker/daemon.json")
        self.assertEqual(list(json.loads(document)), ["registry-mirrors", "insecure-registries"])

    def test_nothing(self) -> None:
        """A client that needs nothing is told of as such."""
        out, notes = self.run_command(
            "docker", "--mirror", "https://mirror.example", "--namespace", "quay.io"
        )
        self.assertEqual(out, "")
        self.assertIn("there is nothing to configure", notes)

    def test_every_client(self) -> None:
        """Every client has an output that names the mirror."""
        for client in CLIENTS:
            out, _ = self.run_command(client, *MIRROR)
            self.assertIn("mirror.example:8080", out, client)


class Schemes(CommandTestCase):
    """http and https."""

    def test_assumed(self) -> None:
        """A host alone means https, which is reported with what to write for http."""
        out, notes = self.run_command("k3s", "--mirror", "mirror.example:8080")
        self.assertIn("https://mirror.example:8080", out)
        self.assertIn(
            "--mirror: mirror.example:8080 has no scheme, so https is assumed; write "
            "http://mirror.example:8080 if the mirror has no TLS",
            notes,
        )
        for url in MIRROR[1], "https://mirror.example":
            _, notes = self.run_command("k3s", "--mirror", url)
            self.assertNotIn("assumed", "".join(notes))


class Choices(CommandTestCase):
    """--no-fallback and --no-default."""

    def test_no_fallback(self) -> None:
        """It reaches the client."""
        out, _ = self.run_command("talos", *MIRROR, "--no-fallback")
        self.assertIn("skipFallback: true", out)

    def test_no_default(self) -> None:
        """`--no-default` reaches the client: other registries are not configured."""
        out, _ = self.run_command("containerd", *MIRROR, "--no-default")
        self.assertNotIn("_default", out)


class Checking(CommandTestCase):
    """--check."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[str, str | None]] = []
        self.found: list[str] | CheckFailed = ["it is there"]

        def check(mirror: Mirror, image: Image | None, ask: Asking) -> list[str]:
            self.asked.append((mirror.url, None if image is None else str(image)))
            if isinstance(self.found, CheckFailed):
                raise self.found
            return self.found

        self.patch(command, "check", check)

    def test_alone(self) -> None:
        """Without a client the mirror is asked and nothing else done."""
        self.assertEqual(self.run_command("--check", *MIRROR), ("", ["it is there"]))
        self.run_command("--check", *MIRROR, "--image", "quay.io/a/b")
        self.assertEqual(self.asked, [(MIRROR[1], None), (MIRROR[1], "quay.io/a/b:latest")])

    def test_with_a_client(self) -> None:
        """With one, files are made if all is well."""
        out, notes = self.run_command("podman", "--check", *MIRROR)
        self.assertIn("# /etc/containers", out)
        self.assertEqual(notes[0], "it is there")

    def test_failed(self) -> None:
        """If anything is wrong, nothing is written."""
        self.found = CheckFailed("nobody is there")
        problems = self.problems("podman", "--check", *MIRROR, "--write", str(self.root))
        self.assertEqual(problems, ["--check: nobody is there"])
        self.assertFalse(self.root.exists())

    def test_image(self) -> None:
        """An image must be one, and is for a check alone."""
        self.assertEqual(
            self.problems("podman", *MIRROR, "--image", "a"),
            ["--image: requires --check"],
        )
        (problem,) = self.problems("--check", *MIRROR, "--image", "A B")
        self.assertTrue(problem.startswith("--image: "))
        self.assertEqual(self.asked, [])


class Registries(CommandTestCase):
    """Which registries are meant."""

    def names(self, *args: str, **environ: str) -> list[str]:
        out, _ = self.run_command("podman", *MIRROR, *args, **environ)
        prefix = 'prefix = "'
        return [x.removeprefix(prefix)[:-1] for x in out.splitlines() if x.startswith(prefix)]

    def test_default(self) -> None:
        """Without anything said it is docker.io."""
        self.assertEqual(self.names(), ["docker.io"])

    def test_upstream_file(self) -> None:
        """They are those of the upstream file, which the flag or the variable names."""
        path = self.upstream_file(
            "- {namespace: quay.io, host: quay.io}\n"
            "- {namespace: index.docker.io, host: registry-1.docker.io}\n"
            f"- {{namespace: team, host: r.example, username: pat, password: {SECRET}}}\n"
        )
        expected = ["quay.io", "docker.io"]
        self.assertEqual(self.names("--upstream-config-file", path), expected)
        self.assertEqual(self.names(UPSTREAM_CONFIG_FILE=path), expected)
        _, notes = self.run_command("podman", *MIRROR, UPSTREAM_CONFIG_FILE=path)
        self.assertEqual([note.split()[0] for note in notes], ["team"])

    def test_namespaces(self) -> None:
        """--namespace, given any number of times, wins over the file; aliases are one registry."""
        path = self.upstream_file("- {namespace: quay.io, host: quay.io}\n")
        names = ("--namespace", "GHCR.io", "--namespace=registry-1.docker.io")
        self.assertEqual(
            self.names("--upstream-config-file", path, *names), ["ghcr.io", "docker.io"]
        )

    def test_warnings(self) -> None:
        """What is only odd about the upstream file is reported, and does no harm."""
        path = self.upstream_file("[]\n")
        out, notes = self.run_command("podman", *MIRROR, "--upstream-config-file", path)
        self.assertEqual(out, "")
        self.assertEqual(notes, ["there is nothing to configure", f"{path}: contains no upstream"])


class Refusing(CommandTestCase):
    """What is wrong is reported at once, and nothing is done."""

    def test_all(self) -> None:
        """Everything that is wrong has a line."""
        path = self.upstream_file("- {namespace: quay.io}\n")
        problems = self.problems(
            *("nerdctl", "--mirror", "ftp://m", "--namespace", "a//b", "--write", " "),
            *("--upstream-config-file", path, "--colour"),
        )
        sources = [problem.split(":")[0] for problem in problems]
        self.assertEqual(
            sources, ["not understood", "the client", "--mirror", path, "--namespace", "--write"]
        )
        self.assertEqual(
            problems[1],
            f"the client: 'nerdctl' is not known; known: {', '.join(CLIENTS)}",
        )

    def test_missing(self) -> None:
        """The client and the mirror are required."""
        self.assertEqual(
            self.problems(),
            [
                f"the client: is missing; known: {', '.join(CLIENTS)}",
                "--mirror: is required",
            ],
        )

    def test_mirror(self) -> None:
        """The mirror is a server and nothing behind it, and credentials are not repeated."""
        for url in ("http://", "http://a/b", "http://a b", f"http://pat:{SECRET}@m", "m:0", ""):
            (problem,) = self.problems("docker", "--mirror", url)
            self.assertIn("--mirror: ", problem)

    def test_client_cannot(self) -> None:
        """A mirror that the client does not understand is reported, with the file it is for."""
        (problem,) = self.problems("podman", "--mirror", "http://[::1]:8080")
        self.assertIn(
            "/etc/containers/registries.conf.d/050-oci-registry.conf: cannot contain", problem
        )

    def test_no_value(self) -> None:
        """An option without its value is reported."""
        (problem,) = self.problems("docker", "--mirror")
        self.assertEqual(problem, "argument --mirror: expected one argument")

    def test_nothing_written(self) -> None:
        """With a problem nothing is written."""
        self.problems("docker", *MIRROR, "--namespace", "//", "--write", str(self.root))
        self.assertFalse(self.root.exists())


class Writing(CommandTestCase):
    """With --write."""

    def write(self, client: str, *args: str, status: int = 0) -> tuple[str, list[str]]:
        return self.run_command(client, *MIRROR, *args, "--write", str(self.root), status=status)

    def test_written(self) -> None:
        """Files are where they would be if the directory were the root, as they are printed."""
        printed, _ = self.run_command("containerd", *MIRROR)
        out, _ = self.write("containerd")
        files = sorted(path for path in (self.root / "etc").rglob("*") if path.is_file())
        self.assertEqual(sorted(out.splitlines()), [f"{path}: written" for path in files])
        self.assertEqual(len(files), 2)
        for path in files:
            heading = f"# /{path.relative_to(self.root)}\n"
            self.assertIn(heading + path.read_text(), printed)

    def test_merged(self) -> None:
        """What is there stays, is kept as it was too, and once it is right nothing more is done."""
        path = self.root / "etc/docker/daemon.json"
        path.parent.mkdir(parents=True)
        before = f'{{"proxies": "{SECRET}"}}'
        path.write_text(before)
        out, _ = self.write("docker")
        (backup,) = path.parent.glob("daemon.json.bak-*")
        self.assertEqual(out, f"{path}: written; the previous file is {backup}\n")
        self.assertEqual(backup.read_text(), before)
        self.assertEqual(json.loads(path.read_text())["proxies"], SECRET)
        out, _ = self.write("docker")
        self.assertEqual(out, f"{path}: unchanged\n")
        self.assertEqual(len(list(path.parent.iterdir())), 2)

    def test_snippets(self) -> None:
        """What no file can be made of is printed nevertheless."""
        out, notes = self.write("kaniko")
        self.assertTrue(out.startswith("# arguments of the kaniko executor\n--registry-mirror="))
        self.assertIn(
            "nothing is written: this client has no file that setup can write; use the output",
            notes,
        )
        self.assertFalse(self.root.exists())

    def test_broken(self) -> None:
        """What is broken is reported with its place, and left as it is."""
        path = self.root / "etc/docker/daemon.json"
        path.parent.mkdir(parents=True)
        path.write_text(f'{{"proxies": {SECRET}')
        out, lines = self.write("docker", status=1)
        self.assertEqual(out, "")
        self.assertEqual(lines, [f"{path}: is not JSON: line 1, column 13: Expecting value"])
        self.assertEqual(path.read_text(), f'{{"proxies": {SECRET}')
        self.assertEqual(list(path.parent.iterdir()), [path])

    def test_one_of_two(self) -> None:
        """A file that cannot be written is reported, and the others are written."""
        folder = self.root / "etc/containerd/certs.d"
        folder.mkdir(parents=True)
        (folder / "docker.io").write_text("in the way")
        out, lines = self.write("containerd", status=1)
        self.assertEqual(out, f"{folder}/_default/hosts.toml: written\n")
        self.assertEqual(lines[-1], f"{folder}/docker.io/hosts.toml: Not a directory")


class Removing(CommandTestCase):
    """With --remove."""

    def test_removed(self) -> None:
        """What --write has written is removed, and what was there before is restored."""
        path = self.root / "etc/containerd/certs.d/docker.io/hosts.toml"
        path.parent.mkdir(parents=True)
        path.write_text("# theirs")
        self.run_command("containerd", *MIRROR, "--write", str(self.root))
        out, notes = self.run_command("containerd", "--remove", str(self.root))
        self.assertIn(f"{path}: restored from hosts.toml.bak-", out)
        self.assertIn("_default/hosts.toml: removed\n", out)
        self.assertEqual([], notes)
        self.assertEqual("# theirs", path.read_text())
        self.assertEqual([path], [each for each in self.root.rglob("*") if each.is_file()])

    def test_nothing(self) -> None:
        """Where nothing was written, nothing is removed, which is no problem."""
        out, _ = self.run_command("k3s", "--remove", str(self.root))
        self.assertEqual("there is nothing to remove\n", out)

    def test_alone(self) -> None:
        """It takes a client and no other option."""
        self.assertEqual(
            [f"--remove: takes a client and no other option: {' '.join(map(ascii, MIRROR))}"],
            self.problems("k3s", "--remove", str(self.root), *MIRROR),
        )
        self.assertIn("the client: is missing", self.problems("--remove", str(self.root))[0])
        self.assertIn("'k4s' is not known", self.problems("k4s", f"--remove={self.root}")[0])
        self.assertIn("expected one argument", self.problems("k3s", "--remove")[0])
        self.assertEqual(["--remove: is empty"], self.problems("k3s", "--remove", ""))

    def test_cannot(self) -> None:
        """A file that cannot be removed is named, with status 1."""
        path = self.root / "var/lib/oci-registry-setup/k3s.json"
        path.parent.mkdir(parents=True)
        path.write_text("[]")
        self.assertEqual(
            [f"{path}: is not a record written by setup"],
            self.problems("k3s", "--remove", str(self.root)),
        )


class Dispatching(CommandTestCase):
    """``oci-registry setup``."""

    def test_setup(self) -> None:
        """The word stands first, and the process ends with the status of the command."""
        for args, status, words in (
            (["setup", "podman", *MIRROR], 0, "# /etc/containers"),
            (["setup", "podman"], 1, ""),
        ):
            out, err = StringIO(), StringIO()
            self.patch(__main__.sys, "stdout", out)
            self.patch(__main__.sys, "stderr", err)
            exited = self.assertRaises(SystemExit, __main__.main, args)
            self.assertEqual(exited.code, status)
            self.assertTrue(out.getvalue().startswith(words))
            self.assertEqual("--mirror: is required" in err.getvalue(), bool(status))
