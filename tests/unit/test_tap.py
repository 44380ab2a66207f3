"""The command line, parsed as twistd does."""

from __future__ import annotations

import json
import os
import sys
from io import StringIO
from pathlib import Path

from twisted.application.service import IService
from twisted.python.usage import UsageError
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from oci_registry import service, tap
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    Credentials,
    EgressSettings,
    FilesystemSettings,
    ProxySettings,
    Settings,
)
from oci_registry.log_output import STANDARD_OUTPUT, TWISTD, LogPlace
from oci_registry.tap import Options, makeService
from oci_registry.usage import UpstreamFileError
from tests.support.settings import upstream_settings

from .config.support import SECRET

CREDENTIALS = json.dumps({"docker.io": {"username": "alice", "password": SECRET}})


class TapTestCase(SynchronousTestCase):
    """Parses command lines with a root that can be used."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())

    def parse(self, *arguments: str, **environ: str) -> Options:
        options = Options(environ)
        options.parseOptions([*arguments, "filesystem", "--root", self.root])
        return options

    def refuse(self, *arguments: str, **environ: str) -> str:
        error = self.assertRaises(UsageError, Options(environ).parseOptions, arguments)
        self.assertNotIn(SECRET, str(error))
        return str(error)

    def printed(self, *arguments: str) -> str:
        """What is printed before the process would exit successfully."""
        output = StringIO()
        self.patch(sys, "stdout", output)
        exited = self.assertRaises(SystemExit, Options({}).parseOptions, arguments)
        self.assertEqual(exited.code, 0)
        return output.getvalue()


class Parsing(TapTestCase):
    """From argv to settings."""

    def test_shortest(self) -> None:
        """A root is all that is needed."""
        self.assertEqual(
            self.parse().settings,
            Settings(
                listen=("tcp:80:interface=0.0.0.0",),
                storage=FilesystemSettings(self.root),
                default_namespace="docker.io",
                upstreams=BUILTIN_UPSTREAMS,
                allow_dynamic_upstreams=True,
                egress=EgressSettings(),
                check_cache_digest=False,
                log_level="info",
                log_format="text",
                shutdown_grace=30.0,
                warnings=(),
            ),
        )

    def test_everything(self) -> None:
        """Every option arrives in the settings."""
        config = self.mktemp()
        Path(config).write_text("- {namespace: quay.io, host: quay.io, tls: false}")
        credentials = self.mktemp()
        Path(credentials).write_text(CREDENTIALS.replace("docker.io", "quay.io"))
        os.chmod(credentials, 0o600)
        options = self.parse(
            *("--listen", "127.0.0.1:8080"),
            *("--listen", "[::1]:8080"),
            "--listen=unix:/run/oci-registry.sock",
            *("--admin-listen", "127.0.0.1:8081"),
            "--admin-listen=unix:/run/admin.sock",
            "--default-namespace=quay.io",
            "--default-upstream-namespace=quay.io",
            f"--upstream-config-file={config}",
            f"--upstream-credentials-file={credentials}",
            "--check-cache-digest",
            "--allow-private-upstreams",
            "--upstreams=configured",
            "--log-level=debug",
            "--log-format=json",
            "--access-log=off",
            "--shutdown-grace=1m",
            HTTPS_PROXY="http://proxy:3128",
        )
        self.assertEqual(
            options.settings,
            Settings(
                listen=(
                    "tcp:8080:interface=127.0.0.1",
                    "tcp6:8080:interface=\\:\\:1",
                    "unix:/run/oci-registry.sock",
                ),
                admin_listen=("tcp:8081:interface=127.0.0.1", "unix:/run/admin.sock"),
                storage=FilesystemSettings(self.root),
                default_namespace="quay.io",
                upstreams=(
                    upstream_settings(
                        namespace="quay.io",
                        host="quay.io",
                        tls=False,
                        credentials=Credentials("alice", SECRET),
                    ),
                ),
                allow_dynamic_upstreams=False,
                egress=EgressSettings(https_proxy=ProxySettings("proxy", 3128), allow_private=True),
                check_cache_digest=True,
                log_level="debug",
                log_format="json",
                access_log="off",
                shutdown_grace=60.0,
                warnings=(
                    "upstream quay.io: tls is false: credentials are sent unencrypted",
                    "--allow-private-upstreams: has no effect with --upstreams configured",
                ),
            ),
        )

    def test_environment(self) -> None:
        """The environment stands in for options, that of the storage included."""
        options = Options({"FILESYSTEM_ROOT": self.root, "PORT": "8080", "LOG_LEVEL": "warn"})
        options.parseOptions(["--log-level", "error", "filesystem"])
        self.assertEqual(options.settings.storage, FilesystemSettings(self.root))
        self.assertEqual(options.settings.listen, ("tcp:8080:interface=0.0.0.0",))
        self.assertEqual(options.settings.log_level, "error")

    def test_process_environment(self) -> None:
        """Without another one the environment of the process counts."""
        self.patch(os, "environ", {"FILESYSTEM_ROOT": self.root})
        options = Options()
        options.parseOptions(["filesystem"])
        self.assertEqual(options.settings.storage, FilesystemSettings(self.root))

    def test_proxy(self) -> None:
        """A proxy comes from the environment, and its password is in the settings alone."""
        options = self.parse(https_proxy=f"https://alice:{SECRET}@proxy")
        credentials = options.settings.egress.https_proxy.credentials
        self.assertEqual(credentials, Credentials("alice", SECRET))
        self.assertNotIn(SECRET, repr(options.settings))
        self.refuse("filesystem", "--root", self.root, https_proxy=f"socks://x:{SECRET}@proxy")

    def test_old_command_line(self) -> None:
        """The command line of older programs is understood."""
        options = self.parse("--port", "8080", "--default-upstream-namespace", "quay.io")
        self.assertEqual(options.settings.listen, ("tcp:8080:interface=0.0.0.0",))
        self.assertEqual(options.settings.default_namespace, "quay.io")


class Workers(TapTestCase):
    """--workers."""

    def test_number(self) -> None:
        """The number is an option, or a variable."""
        self.assertEqual(4, self.parse("--workers", "4").settings.workers)
        self.assertEqual(2, self.parse(WORKERS="2").settings.workers)
        self.assertIn(
            "--workers", self.refuse("--workers", "99", "filesystem", "--root", self.root)
        )

    def test_cannot_share(self) -> None:
        """Where processes cannot share sockets, workers are refused; one process is not."""
        self.patch(tap, "_can_fork", lambda: False)
        error = self.refuse("--workers=2", "filesystem", "--root", self.root)
        self.assertIn("--workers: needs Linux (epoll)", error)
        self.assertEqual(1, self.parse("--workers=1").settings.workers)


class Refusing(TapTestCase):
    """Command lines that are wrong."""

    def test_all_at_once(self) -> None:
        """Every problem has a line in one error."""
        text = self.refuse("--log-level=loud", "--shutdown-grace=1", LISTEN="tcp:x ssl:443:x=y")
        self.assertEqual(
            [line.partition(":")[0] for line in text.splitlines()],
            ["LISTEN", "LISTEN", "no storage given", "--log-level", "--shutdown-grace"],
        )

    def test_endpoints_are_tried(self) -> None:
        """An endpoint that cannot be made is told at once, before anything listens."""
        text = self.refuse(
            "--listen=ssl:443:privateKey=/nowhere.pem", "filesystem", "--root", self.root
        )
        self.assertIn("/nowhere.pem: No such file", text)

    def test_no_storage(self) -> None:
        """Without a storage the error says how to end the command."""
        self.assertEqual(
            self.refuse(),
            "no storage given: end the command with filesystem --root DIRECTORY or s3 --bucket NAME",
        )

    def test_misspelt_storage(self) -> None:
        """A misspelt storage is quoted, unless it may be a torn piece of a secret."""
        for word, meant in (("filsystem", "filesystem"), ("S3", "s3")):
            said = f"unknown storage '{word}': did you mean {meant}?"
            self.assertEqual(said, self.refuse(word, "--root", self.root))
        torn = ("--upstream-credentials", "{docker.io:"), ("--upstream-credentials-file", "{x:")
        for before in (*torn, ("--upstream-credentials", "x")):
            self.assertIn("known: filesystem, s3", self.refuse(*before, "filsystem"))
        for word in (SECRET, "filsystem}}", "x"):
            said = self.refuse(word)
            self.assertIn("known: filesystem, s3", said)
            self.assertNotIn(repr(word), said)

    def test_misspelt_option(self) -> None:
        """A misspelt option is shown with the one that is closest, of the daemon or the storage."""
        for words, meant in (
            (["--listn", ":80"], "option --listn not recognized; did you mean --listen?"),
            (["filesystem", "--rot=/x"], "option --rot not recognized; did you mean --root?"),
            (["s3", "--buckt", "x"], "option --buckt not recognized; did you mean --bucket?"),
        ):
            self.assertEqual(meant, self.refuse(*words))

    def test_before_the_storage(self) -> None:
        """An option of a storage that stands before it, or without it, is told where it belongs."""
        for words, usage in (
            (["--root", "/x"], "filesystem --root DIRECTORY"),
            (["--root", "/x", "filesystem"], "filesystem --root DIRECTORY"),
            (["--redirect", "s3"], "s3 --redirect"),
            ([f"--secret-key={SECRET}", "s3"], "s3 --secret-key KEY"),
        ):
            flag = words[0].partition("=")[0]
            said = f"{flag} belongs after the storage: oci-registry ... {usage}"
            self.assertEqual(said, self.refuse(*words))

    def test_upstream_file(self) -> None:
        """Errors in the upstream file are told apart: no help on options is about them."""
        config = self.mktemp()
        Path(config).write_text("- {namespace: quay.io, hots: quay.io}")
        storage = ("filesystem", "--root", self.root)
        for options, environ, kind in (
            ([f"--upstream-config-file={config}"], {}, UpstreamFileError),
            ([], {"UPSTREAM_CONFIG_FILE": config}, UpstreamFileError),
            ([f"--upstream-config-file={config}", "--log-level=x"], {}, UsageError),
            (["--log-level=x"], {}, UsageError),
        ):
            parse = Options(environ).parseOptions
            error = self.assertRaises(UsageError, parse, [*options, *storage])
            self.assertIs(kind, type(error))

    def test_misplaced(self) -> None:
        """An option of the daemon behind the storage is told to move; an unknown one is not."""
        text = self.refuse("filesystem", "--root", self.root, "--listen", ":80")
        self.assertEqual(text, "the option --listen must come before 'filesystem', not after it")
        for flags in (["--check-cache-digest"], ["--upstreams=any"]):
            for storage in ("filesystem", "s3"):
                self.assertIn(f"before '{storage}'", self.refuse(storage, *flags))
        self.assertEqual(self.refuse("filesystem", "--wibble"), "option --wibble not recognized")
        self.assertEqual(self.refuse("s3", "--root", "/x"), "option --root not recognized")
        self.assertEqual(self.refuse("--wibble"), "option --wibble not recognized")

    def test_torn_credentials(self) -> None:
        """A document that the shell tore into words is not repeated."""
        words = ["{docker.io:", "{username:", "alice,", "password:", f"{SECRET}}}}}"]
        for start in range(1, len(words)):
            self.refuse("--upstream-credentials", *words[start - 1 :], "filesystem")
            self.refuse("filesystem", *words[start:])
            text = self.refuse("s3", *words[start:])
            count = len(words) - start
            self.assertEqual(
                text, f"s3 takes options only; unexpected arguments after them: {count}"
            )

    def test_malformed_credentials(self) -> None:
        """A document that is no JSON is not repeated."""
        for flags, environ in (
            ([f"--upstream-credentials={CREDENTIALS[:-1]}"], {}),
            ([f"--upstream-credentials-file={CREDENTIALS}"], {}),
            ([], {"UPSTREAM_CREDENTIALS": CREDENTIALS[:-1]}),
        ):
            text = self.refuse(*flags, "filesystem", "--root", self.root, **environ)
            self.assertEqual(len(text.splitlines()), 1)


class Discretion(TapTestCase):
    """No secret can be seen in the options."""

    def test_shown(self) -> None:
        """Neither repr nor str show credentials, and the options forget them."""
        options = self.parse("--upstream-credentials", CREDENTIALS)
        self.assertEqual(
            options.settings.upstreams[0].hosts[0].credentials, Credentials("alice", SECRET)
        )
        for shown in (repr(options), str(options), f"{options}", repr(options.settings)):
            self.assertNotIn(SECRET, shown)
        self.assertNotIn(SECRET, json.dumps(dict(options)))

    def test_arguments_of_the_process(self) -> None:
        """Before anything is parsed, the secrets among the process's arguments are hidden."""
        hidden: list[list[str]] = []
        self.patch(tap, "hide_secrets", hidden.append)
        self.patch(sys, "orig_argv", ["python", "s3", "--secret-key", SECRET])
        self.refuse("--wibble")
        self.assertEqual(hidden, [sys.orig_argv])

    def test_before(self) -> None:
        """The same holds when parsing fails halfway."""
        options = Options({})
        arguments = ["--upstream-credentials", CREDENTIALS, "wibble"]
        self.assertRaises(UsageError, options.parseOptions, arguments)
        for shown in (repr(options), str(options)):
            self.assertNotIn(SECRET, shown)


class Service(TapTestCase):
    """makeService."""

    def test_made(self) -> None:
        """The service is made of the settings and not started."""
        made = makeService(self.parse("--listen", "127.0.0.1:0"))
        self.assertTrue(verifyObject(IService, made))
        self.assertFalse(made.running)
        self.assertFalse(os.path.exists(self.root))

    def test_logging(self) -> None:
        """It logs where twistd was told to, and where twistd would by itself."""
        places: list[object] = []

        def make_service(*args: object, log_place: object, **options: object) -> None:
            places.append(log_place)

        self.patch(service, "make_service", make_service)
        makeService(self.parse())
        for arguments, place in (
            (["--nodaemon"], STANDARD_OUTPUT),
            (["--nodaemon", "--logfile", "-"], STANDARD_OUTPUT),
            ([], LogPlace("twistd.log")),
            (["--logfile", "x.log"], LogPlace("x.log")),
            (["--nodaemon", "--logfile", "x.log"], LogPlace("x.log")),
            # Which twistd refuses.
            (["--logfile", "-"], TWISTD),
            (["--nodaemon", "--syslog"], TWISTD),
            (["--logger", "twisted.python.log.PythonLoggingObserver"], TWISTD),
        ):
            parent = ServerOptions()
            parent.parseOptions([*arguments, "oci-registry", "filesystem", "--root", self.root])
            makeService(parent.subOptions)
            self.assertEqual(place, places[-1], arguments)
        self.assertEqual(STANDARD_OUTPUT, places[0])

    def test_service_manager(self) -> None:
        """Where the service manager listens is taken from the environment."""
        told: list[object] = []

        def make_service(*args: object, notify_socket: object, **options: object) -> None:
            told.append(notify_socket)

        self.patch(service, "make_service", make_service)
        makeService(self.parse())
        makeService(self.parse(NOTIFY_SOCKET="@x"))
        self.assertEqual(told, [None, "@x"])

    def test_same_options(self) -> None:
        """twistd finds these options and this service behind the plugin."""
        parent = ServerOptions()
        parent.parseOptions(["oci-registry", "filesystem", "--root", self.root])
        self.assertIsInstance(parent.subOptions, tap.Options)
        self.assertIs(parent.loadedPlugins["oci-registry"].makeService, tap.makeService)
