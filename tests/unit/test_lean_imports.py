"""What is not imported when a daemon starts."""

from __future__ import annotations

import linecache
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Semaphore
from types import ModuleType
from typing import Any

import attr
import twisted
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.lean_imports import (
    NAMES,
    Provided,
    all_plain,
    called,
    elsewhere,
    empty_base,
    executing_later,
    names_for,
    without_generated_sources,
    without_tls,
)

# All that a start does before the reactor runs, as main() and twistd do it; then what is imported.
_START = """
import os, sys
from oci_registry.lean_imports import executing_later
def start(*options):
    with executing_later():
        from oci_registry.__main__ import _parse
        config = _parse([*options, *sys.argv[-3:]])
    config.loadedPlugins[config.subCommand].makeService(config.subOptions)
start(*sys.argv[1:-3])
"""
_TELL = """
print(*(name for name, module in sys.modules.items() if type(module).__name__ != "_Later"))
"""
_END = """
sys.stdout.flush()
os._exit(0)
"""
# For a client of registries, for TLS, for a bucket, for the other commands and for other plugins; what only
# other uses of a library need.
LATER = {
    "OpenSSL",
    "_hashlib",
    "_sqlite3",
    "_ssl",
    "asyncio",
    "asyncio.base_events",
    "automat",
    "boto3",
    "botocore",
    "calendar",
    "cryptography",
    "decimal",
    "difflib",
    "email.message",
    "hashlib",
    "html.entities",
    "http",
    "http.server",
    "hyperlink",
    "idna",
    "importlib.resources",
    "locale",
    "multipart",
    "oci_registry.admin.api",
    "oci_registry.admin_pages",
    "oci_registry.management.manager",
    "oci_registry.setup",
    "oci_registry.storage.drivers.s3.driver",
    "oci_registry.upstream.agent",
    "oci_registry.upstream.connecting",
    "pdb",
    "pkg_resources",
    "prometheus_client.exposition",
    "service_identity",
    "sqlite3",
    "subprocess",
    "treq",
    "twisted.internet.ssl",
    "twisted.protocols.tls",
    "twisted.spread.pb",
    "twisted.trial",
    "twisted.web.client",
    "twisted.web.util",
    "unittest",
    "urllib.request",
    "zipfile",
}


def imported(folder: Path, *options: str, then: Sequence[str] = ()) -> list[set[str]]:
    """Return the modules that a daemon with these options has imported when it is about to start.

    *then*: statements that are executed after that, each with the modules that are imported afterwards;
    *start* is a function that starts another daemon, with other options.
    """
    script = _TELL.join((_START, *then, _END))
    arguments = [*options, "filesystem", "--root", str(folder / "store")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return [set(line.split()) for line in done.stdout.splitlines()]


class Start(SynchronousTestCase):
    """The modules of a daemon that has just started."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def test_filesystem(self) -> None:
        """Nothing that only a miss, TLS, a bucket or another command needs is imported.

        Neither are plugins looked for to listen at a socket. Where they are, TLS is not brought along.
        """
        places = ("127.0.0.1:0", f"unix:{self.folder}/socket")
        options = [word for place in places for word in ("--listen", place)]
        found, later = imported(
            self.folder,
            *options,
            then=["start('--listen', '127.0.0.1:0', '--admin-listen', 'tcp6:0')"],
        )
        self.assertIn("oci_registry.service", found)
        self.assertEqual(set(), found & LATER)
        # The configuration is written in Python.
        self.assertNotIn("yaml", found)
        self.assertNotIn("twisted.plugins.twisted_core", found)
        self.assertIn("twisted.plugins.twisted_core", later)
        self.assertNotIn("OpenSSL", later)

    def test_upstream_file(self) -> None:
        """With a file of upstreams, nothing more is imported, unless certificates must be looked at.

        What makes the status page is not imported with the admin API either, which programs use too.
        """
        file = self.folder / "upstreams.yaml"
        file.write_text(
            "- {namespace: a.example, host: a.example}\n- {namespace: '*', host: '*'}\n"
        )
        options = ("--upstream-config-file", str(file))
        found, later = imported(self.folder, *options, then=["import oci_registry.admin_pages"])
        self.assertEqual(set(), found & LATER)
        self.assertIn("oci_registry.admin_pages", later)
        self.assertNotIn("oci_registry.admin.page", later)

    def test_tls(self) -> None:
        """A place to listen that may need TLS brings it along from the beginning."""
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


class Later(SynchronousTestCase):
    """Modules that are executed later."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.package = f"later_{self.id().rpartition('.')[2]}"
        (self.folder / self.package).mkdir(parents=True)
        self.write("__init__", "from .part import value\nexecuted = True\n__all__ = ['value']\n")
        self.write("part", "value = 1\n")
        self.write("broken", "import nothing_of_this_name\n")
        sys.path.insert(0, str(self.folder))
        self.addCleanup(sys.path.remove, str(self.folder))
        self.addCleanup(self.forget)

    def write(self, module: str, text: str) -> None:
        (self.folder / self.package / f"{module}.py").write_text(text)

    def forget(self) -> None:
        for name in list(sys.modules):
            if name.partition(".")[0] == self.package:
                del sys.modules[name]

    def load(self, *names: str) -> Any:
        whole = {f"{self.package}.{name}".rstrip(".") for name in names}
        with executing_later(whole), executing_later(whole):
            for name in whole:
                import_module(name)
        return sys.modules[self.package]

    def test_attribute(self) -> None:
        """A module is executed when something of it is used, also long after; then it is like any other."""
        package = self.load("")
        self.assertNotIn("executed", vars(package))
        self.assertIs(package, import_module(self.package))
        self.assertNotIn("executed", vars(package))
        self.assertEqual(1, package.value)
        self.assertTrue(package.executed)
        self.assertIs(ModuleType, type(package))
        self.assertFalse(hasattr(package, "nothing"))

    def test_from(self) -> None:
        """``from module import name``, and a star, use it."""
        self.load("")
        found: dict[str, Any] = {}
        exec(f"from {self.package} import executed", found)
        self.assertTrue(found["executed"])
        self.forget()
        self.load("")
        exec(f"from {self.package} import *", found)
        self.assertEqual(1, found["value"])

    def test_part(self) -> None:
        """A module of a package is imported without the package being executed."""
        package = self.load("")
        part = import_module(f"{self.package}.part")
        self.assertEqual((1, part), (part.value, package.part))
        found: dict[str, Any] = {}
        exec(f"from {self.package} import part", found)
        self.assertIs(part, found["part"])
        self.assertNotIn("executed", vars(package))

    def test_nothing(self) -> None:
        """What it does not have is an AttributeError, as for any module."""
        package = self.load("")
        self.assertRaises(AttributeError, getattr, package, "__wrapped__")
        self.assertNotIn("executed", vars(package))
        self.assertRaises(AttributeError, getattr, package, "nothing")
        self.assertTrue(package.executed)

    def test_provided(self) -> None:
        """Names that are provided do not execute the module, as long as they are and not afterwards."""
        self.write("part", "value = dict\nclass Base:\n    pass\n")
        self.write("other", "def found():\n    return 1\n")
        whole, part = {self.package, f"{self.package}.part"}, f"{self.package}.part"
        taken: dict[str, Any] = {}
        provided: Provided = {
            self.package: {"found": elsewhere("other")},
            part: {"value": called, "Base": empty_base},
        }
        with executing_later(whole, provided):
            exec(
                f"from {self.package} import found\nfrom {part} import value, Base\n"
                "class Own(Base):\n    pass\n",
                taken,
            )
            package, module = sys.modules[self.package], sys.modules[part]
        self.assertEqual(1, taken["found"]())
        self.assertNotIn("executed", vars(package))
        self.assertNotIn("value", vars(module))
        self.assertEqual({"a": 1}, taken["value"]([("a", 1)]))
        self.assertIs(dict, module.value)
        self.assertIsNot(taken["Base"], module.Base)
        self.assertIs(taken["found"], sys.modules[f"{self.package}.other"].found)

    def test_called_meanwhile(self) -> None:
        """What is called while names are provided is the real thing."""
        with executing_later({self.package}, {self.package: {"value": called}}):
            self.write("__init__", "value = dict\n")
            value = import_module(self.package).value
            self.assertIsNot(dict, value)
            self.assertEqual({"a": 1}, value(a=1))
            self.assertIs(dict, sys.modules[self.package].value)
            self.assertEqual({"a": 1}, value(a=1))

    def test_versions(self) -> None:
        """Names are provided for the versions of Twisted that were tested, but not for later ones."""
        self.assertIs(NAMES, names_for(twisted.__version__))
        self.assertIs(NAMES, names_for("25.5.0"))
        self.assertEqual({}, names_for("99.1.0"))

    def test_twisted(self) -> None:
        """What Twisted takes of such modules works when it is called."""
        script = (
            "from oci_registry.lean_imports import executing_later\n"
            "with executing_later():\n"
            "    from twisted.web import http, server\n"
            "    from twisted.internet.defer import Deferred\n"
            "async def one():\n    return 1\n"
            "Deferred.fromCoroutine(one()).addCallback(print)\n"
            "print(http._getContentFile, server.escape('<'), http._parseContentType(b'a/b; c=d'))\n"
            "import asyncio\n"
            "async def two():\n    return await Deferred.fromCoroutine(one()).asFuture(\n"
            "        asyncio.get_running_loop())\n"
            "print(asyncio.run(two()))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        )
        lines = done.stdout.splitlines()
        self.assertEqual(["1", "1"], [lines[0], lines[-1]])
        self.assertIn("&lt;", lines[1])

    def test_broken(self) -> None:
        """A module that cannot be executed fails whenever it is used."""
        package = self.load("", "broken")
        for _ in range(2):
            self.assertRaises(ImportError, getattr, package.broken, "value")

    def test_threads(self) -> None:
        """Threads that use it at the same time get it whole, and it is executed once."""
        self.write(
            "slow",
            "import sys\nsys.slowly = getattr(sys, 'slowly', 0) + 1\n"
            "first = 1\nfor _ in range(4):\n    sys.about_to_use_it.acquire()\nlast = 2\n",
        )
        about_to_use_it = Semaphore(0)
        vars(sys)["about_to_use_it"] = about_to_use_it
        for name in ("slowly", "about_to_use_it"):
            self.addCleanup(delattr, sys, name)
        slow = self.load("", "slow").slow

        def use(_: int) -> object:
            about_to_use_it.release()
            return slow.last

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(use, range(4)))
        self.assertEqual([2] * 4, found)
        self.assertEqual(1, vars(sys)["slowly"])


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

    def test_sources(self) -> None:
        """The source of what attrs generates is kept before and afterwards, and not meanwhile."""

        def kept(name: str) -> int:
            attr.make_class(name, ["a"])(1)
            return sum(name.startswith("<attrs generated") for name in linecache.cache)

        first = kept("MadeBefore")
        with without_generated_sources():
            linecache.cache["x"] = (0, None, [], "x")
            self.assertEqual(first, kept("MadeMeanwhile"))
        self.assertGreater(kept("MadeAfterwards"), first)
        self.assertNotIn("x", linecache.cache)
