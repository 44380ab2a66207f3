"""Flags, environment and defaults."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oci_registry.config.loader import load_settings
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    ConfigError,
    EgressSettings,
    FilesystemSettings,
    ProxySettings,
    Settings,
)

from .support import SECRET, LoaderTestCase

QUAY = "- {namespace: quay.io, host: quay.io}\n"


class Layers(LoaderTestCase):
    """Flag over environment over default."""

    def test_defaults(self) -> None:
        """Nothing but a root needs to be given."""
        self.assertEqual(
            self.load(),
            Settings(
                listen=("tcp:80:interface=0.0.0.0",),
                storage=FilesystemSettings(str(self.directory)),
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

    def test_environment(self) -> None:
        """Every option can come from the environment."""
        config = self.write("upstreams.yaml", QUAY)
        root = str(self.directory / "from-env")
        self.assertEqual(
            self.load(
                environ={
                    "LISTEN": "127.0.0.1:81 unix:/run/x.sock",
                    "DEFAULT_NAMESPACE": "quay.io",
                    "UPSTREAM_CONFIG_FILE": config,
                    "CHECK_CACHE_DIGEST": "true",
                    "HTTPS_PROXY": "http://proxy:3128",
                    "http_proxy": "https://proxy",
                    "NO_PROXY": "localhost,.example.com",
                    "UPSTREAMS": "configured",
                    "ADMIN_LISTEN": ":82",
                    "ACCESS_LOG": "combined",
                    "LOG_LEVEL": "debug",
                    "LOG_FORMAT": "json",
                    "SHUTDOWN_GRACE": "1m",
                    "FILESYSTEM_ROOT": root,
                    "RUST_BACKTRACE": "nonsense",
                },
                storage=("filesystem", {"root": None}),
            ),
            Settings(
                listen=("tcp:81:interface=127.0.0.1", "unix:/run/x.sock"),
                storage=FilesystemSettings(root),
                default_namespace="quay.io",
                upstreams=self.load({"upstream-config-file": config}).upstreams,
                allow_dynamic_upstreams=False,
                egress=EgressSettings(
                    https_proxy=ProxySettings("proxy", 3128),
                    http_proxy=ProxySettings("proxy", 443, tls=True),
                    no_proxy=("localhost", ".example.com"),
                ),
                check_cache_digest=True,
                log_level="debug",
                log_format="json",
                shutdown_grace=60.0,
                admin_listen=("tcp:82",),
                access_log="combined",
            ),
        )

    def test_flags_win(self) -> None:
        """What the environment says counts for nothing beside a flag, even if it is nonsense."""
        settings = self.load(
            {
                "listen": ["81"],
                "admin-listen": ["82"],
                "default-namespace": "ghcr.io",
                "upstream-credentials-file": self.write("c.json", "{}"),
                "check-cache-digest": 1,
                "allow-private-upstreams": 1,
                "upstreams": "any",
                "log-level": "error",
                "log-format": "text",
                "access-log": "off",
                "shutdown-grace": "2s",
            },
            {
                "LISTEN": "nonsense",
                "ADMIN_LISTEN": "nonsense",
                "PORT": "nonsense",
                "DEFAULT_NAMESPACE": "no sense",
                "DEFAULT_UPSTREAM_NAMESPACE": "no sense",
                "UPSTREAM_CREDENTIALS": "nonsense",
                "ALLOW_PRIVATE_UPSTREAMS": "no",
                "UPSTREAMS": "nonsense",
                "LOG_LEVEL": "nonsense",
                "LOG_FORMAT": "nonsense",
                "ACCESS_LOG": "nonsense",
                "SHUTDOWN_GRACE": "nonsense",
                "FILESYSTEM_ROOT": "/dev/null/nonsense",
            },
        )
        self.assertEqual(settings.listen, ("tcp:81",))
        self.assertEqual(settings.default_namespace, "ghcr.io")
        self.assertEqual((settings.log_level, settings.shutdown_grace), ("error", 2.0))
        self.assertTrue(settings.egress.allow_private)

    def test_empty_is_unset(self) -> None:
        """An empty or blank variable is as good as none."""
        names = [
            "LISTEN",
            "PORT",
            "DEFAULT_NAMESPACE",
            "DEFAULT_UPSTREAM_NAMESPACE",
            "UPSTREAM_CONFIG_FILE",
            "UPSTREAM_CREDENTIALS",
            "CHECK_CACHE_DIGEST",
            "ALLOW_PRIVATE_UPSTREAMS",
            "HTTPS_PROXY",
            "NO_PROXY",
            "UPSTREAMS",
            "LOG_LEVEL",
            "LOG_FORMAT",
            "SHUTDOWN_GRACE",
            "FILESYSTEM_ROOT",
        ]
        for blank in ("", " \n"):
            self.assertEqual(self.load(environ=dict.fromkeys(names, blank)), self.load())

    def test_empty_flag(self) -> None:
        """An empty flag is a slip of a script, and a problem."""
        for flag in ("default-namespace", "log-level", "shutdown-grace", "upstream-config-file"):
            self.assertEqual(self.one_problem({flag: ""}), f"--{flag}: is empty")

    def test_all_problems_at_once(self) -> None:
        """Everything that is wrong is reported, each with its source."""
        problems = self.problems(
            {"log-level": "loud", "listen": ["x:y", "99999"], "shutdown-grace": "30"},
            {
                "CHECK_CACHE_DIGEST": "perhaps",
                "ALLOW_PRIVATE_UPSTREAMS": "perhaps",
                "ALL_PROXY": f"socks5://x:{SECRET}@proxy",
                "LOG_FORMAT": "xml",
                "UPSTREAMS": "none",
                "UPSTREAM_CONFIG_FILE": "/nowhere.yaml",
                "UPSTREAM_CREDENTIALS": SECRET,
                "DEFAULT_NAMESPACE": "no sense",
            },
            None,
        )
        sources = sorted(problem.partition(":")[0] for problem in problems)
        self.assertEqual(
            sources,
            sorted(
                [
                    "--log-level",
                    "--listen",
                    "--listen",
                    "--shutdown-grace",
                    "CHECK_CACHE_DIGEST",
                    "ALLOW_PRIVATE_UPSTREAMS",
                    "ALL_PROXY",
                    "LOG_FORMAT",
                    "UPSTREAMS",
                    "/nowhere.yaml",
                    "UPSTREAM_CREDENTIALS",
                    "DEFAULT_NAMESPACE",
                    "no storage given",
                ]
            ),
        )

    @given(
        st.dictionaries(
            st.sampled_from(
                [
                    "listen",
                    "port",
                    "default-namespace",
                    "upstreams",
                    "log-level",
                    "shutdown-grace",
                    "upstream-credentials",
                ]
            ),
            st.text(max_size=10),
        )
    )
    def test_anything(self, flags: dict[str, object]) -> None:
        """Any flags give settings, or problems without an empty one among them."""
        if "listen" in flags:
            flags = {**flags, "listen": [flags["listen"]]}
        try:
            self.load(flags)
        except ConfigError as error:
            self.assertTrue(all(error.problems))


class Choices(LoaderTestCase):
    """Options with a fixed set of values."""

    def test_case(self) -> None:
        """Upper case and blanks around are forgiven."""
        settings = self.load({"log-level": " WARN "}, {"LOG_FORMAT": "Json\n"})
        self.assertEqual((settings.log_level, settings.log_format), ("warn", "json"))

    def test_unknown(self) -> None:
        """A value that is not known is reported with the nearest that is."""
        self.assertEqual(
            self.one_problem({"log-level": "warnin"}),
            "--log-level: 'warnin' is not known; did you mean warn?",
        )
        self.assertEqual(
            self.one_problem(None, {"UPSTREAMS": "all"}),
            "UPSTREAMS: 'all' is not known; known: any, configured",
        )

    def test_levels_of_others(self) -> None:
        """The levels of other programs are understood, and their variable is warned of."""
        for text, level in (("warning", "warn"), ("TRACE", "debug"), ("off", "off")):
            self.assertEqual(self.load(environ={"LOG_LEVEL": text}).log_level, level)
        (warning,) = self.load(environ={"RUST_LOG": "debug"}).warnings
        self.assertIn("RUST_LOG: is ignored: set LOG_LEVEL", warning)

    def test_plain_http(self) -> None:
        """Shortcuts are on unless they are turned off."""
        self.assertFalse(self.load().plain_http)
        self.assertTrue(self.load({"plain-http": 1}).plain_http)
        self.assertTrue(self.load(environ={"PLAIN_HTTP": "yes"}).plain_http)

    def test_booleans(self) -> None:
        """Every usual spelling of a switch is understood."""
        for text, value in {
            **dict.fromkeys(("true", "1", "yes", "on", "TRUE", " On "), True),
            **dict.fromkeys(("false", "0", "no", "off", "No"), False),
        }.items():
            environ = {"CHECK_CACHE_DIGEST": text}
            self.assertEqual(self.load(environ=environ).check_cache_digest, value)
            self.assertTrue(self.load({"check-cache-digest": 1}, environ).check_cache_digest)
            unset = self.load({"check-cache-digest": 0}, environ)
            self.assertEqual(unset.check_cache_digest, value)
        self.assertEqual(
            self.one_problem(None, {"CHECK_CACHE_DIGEST": "2"}),
            "CHECK_CACHE_DIGEST: must be true or false, not '2'",
        )


class Listening(LoaderTestCase):
    """--listen, --port and their variables."""

    def test_precedence(self) -> None:
        """A flag wins over a variable, and the newer name over the older."""
        old, new = {"PORT": "1"}, {"PORT": "1", "LISTEN": ":2 :3"}
        self.assertEqual(self.load(environ=old).listen, ("tcp:1:interface=0.0.0.0",))
        self.assertEqual(self.load(environ=new).listen, ("tcp:2", "tcp:3"))
        path = {"LISTEN": "unix:/run/my dir/a:b.sock"}
        self.assertEqual(self.load(environ=path).listen, ("unix:/run/my dir/a\\:b.sock",))
        self.assertEqual(self.load({"port": "4"}, new).listen, ("tcp:4:interface=0.0.0.0",))
        self.assertEqual(self.load({"listen": [":5", ":6"]}, new).listen, ("tcp:5", "tcp:6"))
        self.assertEqual(self.load({"listen": [], "port": None}, new).listen, ("tcp:2", "tcp:3"))

    def test_both_flags(self) -> None:
        """--port and --listen together are a problem."""
        problem = self.one_problem({"listen": [":1"], "port": "2"})
        self.assertEqual(problem, "--port: cannot be given together with --listen")

    def test_source(self) -> None:
        """The problem names the flag or the variable, and the place."""
        for flags, environ, start in (
            ({"listen": ["x:y"]}, {}, "--listen: 'x:y': 'y' is not a port"),
            ({"port": "y"}, {}, "--port: '0.0.0.0:y': 'y' is not a port"),
            ({}, {"LISTEN": ":1 x:y"}, "LISTEN: 'x:y': 'y' is not a port"),
            ({}, {"PORT": "tcp://10.0.0.1:80"}, "PORT: '0.0.0.0:tcp://10.0.0.1:80': "),
        ):
            self.assertIn(start, self.one_problem(flags, environ))

    def test_admin(self) -> None:
        """--admin-listen is like --listen, without a default."""
        variable = {"ADMIN_LISTEN": ":2 [::1]:3"}
        self.assertEqual(self.load().admin_listen, ())
        found = self.load(environ=variable).admin_listen
        self.assertEqual(found, ("tcp:2", "tcp6:3:interface=\\:\\:1"))
        self.assertEqual(self.load({"admin-listen": []}, variable).admin_listen, found)
        self.assertEqual(self.load({"admin-listen": [":4"]}, variable).admin_listen, ("tcp:4",))
        for flags, environ, problem in (
            ({"admin-listen": ["x:y"]}, {}, "--admin-listen: 'x:y': 'y' is not a port"),
            ({}, {"ADMIN_LISTEN": "y"}, "ADMIN_LISTEN: 'y': 'y' is not a port"),
        ):
            self.assertIn(problem, self.one_problem(flags, environ))

    def test_admin_among_clients(self) -> None:
        """--admin-listen cannot be where clients are served."""
        for flags, environ in (
            ({"listen": [":8", "127.0.0.1:9"], "admin-listen": ["[::]:9"]}, {}),
            ({"port": "9", "admin-listen": ["127.0.0.1:9"]}, {}),
            ({"admin-listen": [":80"]}, {}),
        ):
            problem = self.one_problem(flags, environ)
            self.assertIn("--admin-listen: ", problem)
            self.assertIn("is already used by --listen", problem)

    def test_check(self) -> None:
        """What the caller finds when it tries the endpoints is reported as well."""
        seen = []

        def check(endpoint: str) -> None:
            seen.append(endpoint)
            if endpoint == "tcp:2":
                raise RuntimeError("two is odd")

        storage = ("filesystem", {"root": str(self.directory)})
        error = self.assertRaises(
            ConfigError,
            load_settings,
            {"listen": ["1", "2", "3"], "admin-listen": ["4", "2"]},
            storage,
            {},
            check,
        )
        self.assertEqual(seen, [f"tcp:{port}" for port in (1, 2, 3, 4, 2)])
        reason = "'2': is not usable: two is odd"
        self.assertEqual(error.problems, (f"--listen: {reason}", f"--admin-listen: {reason}"))


class Limits(LoaderTestCase):
    """Limits of the store."""

    def test_bucket(self) -> None:
        """A bucket takes a size; what is a part of a volume makes no sense there."""
        bucket = ("s3", {"bucket": "cache", "host": "http://s3.example"})
        settings = load_settings({"max-size": "2TiB"}, bucket, {})
        self.assertEqual(settings.max_size and settings.max_size.bytes, 2 * 2**40)
        for flags, reason in (
            ({"max-size": "80%"}, "--max-size: 80% cannot be used with s3"),
            ({"min-free": "20GiB"}, "--min-free: cannot be used with s3.*: use --max-size"),
            ({"max-size": "1MiB"}, "--max-size: 1MiB is too small"),
        ):
            with self.assertRaises(ConfigError) as raised:
                load_settings(flags, bucket, {})
            self.assertRegex("\n".join(raised.exception.problems), reason)
