"""What is not imported when a daemon starts."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.lean_imports import all_plain, collecting_seldom, without_tls

# All that a start does before the reactor runs, as main() and twistd do it; then what is imported.
_START = """
import os, sys
from oci_registry.__main__ import _parse
config = _parse(sys.argv[1:])
config.loadedPlugins[config.subCommand].makeService(config.subOptions)
print(*sys.modules, sep="\\n")
sys.stdout.flush()
os._exit(0)
"""
# For a client of registries, for TLS, for a bucket, for the other commands and for other plugins.
LATER = {
    "OpenSSL",
    "automat",
    "boto3",
    "botocore",
    "cryptography",
    "multipart",
    "oci_registry.setup",
    "oci_registry.storage.drivers.s3.driver",
    "oci_registry.upstream.agent",
    "oci_registry.upstream.connecting",
    "pkg_resources",
    "service_identity",
    "treq",
    "twisted.internet.ssl",
    "twisted.protocols.tls",
    "twisted.trial",
    "twisted.web.client",
}


def imported(folder: Path, *options: str) -> set[str]:
    """Return the modules that a daemon with these options has imported when it is about to start."""
    command = [
        sys.executable,
        "-c",
        _START,
        *options,
        "filesystem",
        "--root",
        str(folder / "store"),
    ]
    path = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


class Start(SynchronousTestCase):
    """The modules of a daemon that has just started."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def test_filesystem(self) -> None:
        """Nothing that only a miss, TLS, a bucket or another command needs is imported."""
        found = imported(self.folder, "--listen", "127.0.0.1:0")
        self.assertIn("oci_registry.service", found)
        self.assertEqual(set(), found & LATER)
        # The configuration is written in Python.
        self.assertNotIn("yaml", found)

    def test_upstream_file(self) -> None:
        """Neither is it with a file of upstreams, unless certificates must be looked at."""
        file = self.folder / "upstreams.yaml"
        file.write_text(
            "- {namespace: a.example, host: a.example}\n- {namespace: '*', host: '*'}\n"
        )
        self.assertEqual(set(), imported(self.folder, "--upstream-config-file", str(file)) & LATER)

    def test_tls(self) -> None:
        """A place to listen that may need TLS brings it along from the beginning."""
        found = imported(self.folder, "--listen", "127.0.0.1:0", "--admin-listen", "tcp6:0")
        self.assertNotIn("OpenSSL", found)
        # Twisted tells a socket of systemd by its name only when it listens.
        self.assertFalse(all_plain(["ssl:0:privateKey=key.pem"]))


class Places(SynchronousTestCase):
    """Places to listen at that need no TLS."""

    def test_plain(self) -> None:
        """They are known by their form, each in a list of them too."""
        for place in (
            "80",
            ":80",
            "127.0.0.1:80",
            "[::1]:80",
            "localhost:80",
            "unix:/run/a.sock",
            "tcp:80:interface=127.0.0.1",
            "tcp6:80",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:80",
            "127.0.0.1:80 unix:/run/b.sock",
            "",
        ):
            self.assertTrue(all_plain([place]), place)

    def test_other(self) -> None:
        """Everything else may need it."""
        for place in (
            "ssl:443",
            "tls:/certs:tcp:443",
            "le:/certs:tcp:443",
            "haproxy:ssl:443",
            "80 ssl:443",
        ):
            self.assertFalse(all_plain(["127.0.0.1:80", place]), place)


class Blocked(SynchronousTestCase):
    """What cannot be imported for a while."""

    def test_there(self) -> None:
        """OpenSSL that is imported already stays as it is."""
        before = sys.modules["OpenSSL"]
        with without_tls():
            self.assertIs(before, sys.modules["OpenSSL"])
        self.assertIs(before, sys.modules["OpenSSL"])

    def test_not_there(self) -> None:
        """It cannot be imported meanwhile, and can be again afterwards, whatever happened."""
        before = sys.modules.pop("OpenSSL")
        self.addCleanup(sys.modules.__setitem__, "OpenSSL", before)
        with self.assertRaises(ZeroDivisionError), without_tls():
            self.assertRaises(ImportError, __import__, "OpenSSL.SSL")
            raise ZeroDivisionError
        self.assertNotIn("OpenSSL", sys.modules)

    def test_collection(self) -> None:
        """Garbage is collected as before afterwards."""
        before = gc.get_threshold()
        with collecting_seldom():
            self.assertGreater(gc.get_threshold(), before)
        self.assertEqual(before, gc.get_threshold())
