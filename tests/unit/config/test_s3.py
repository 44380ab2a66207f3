"""The options of the storage in a bucket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from oci_registry.config import s3
from oci_registry.config.findings import Findings
from oci_registry.config.options import OptionReader
from oci_registry.config.s3 import default_spool, load_s3
from oci_registry.config.settings import ProxySettings, S3Settings

from .support import SECRET, ConfigTestCase, pem

FLAGS = (
    *("access-key", "addressing", "bucket", "ca-file", "host", "prefix", "proxy", "redirect"),
    *("redirect-host", "redirect-ranges", "region", "s3-connections", "secret-key"),
    *("secret-key-file", "spool"),
)


PROXY = ProxySettings("p", 3128)


class S3TestCase(ConfigTestCase):
    """Loads a bucket with a name and a spool, unless told otherwise."""

    def setUp(self) -> None:
        super().setUp()
        self.spool = str(self.directory / "spool")
        self.default = S3Settings("cache", spool=self.spool, proxy="environment")

    def load(
        self, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
    ) -> S3Settings:
        self.findings = Findings()
        given = {"bucket": "cache", "spool": self.spool, **(flags or {})}
        settings = load_s3(OptionReader(given, environ or {}, self.findings, "s3"))
        self.assert_discreet()
        return settings

    def fine(self, warnings: int = 0, **values: object) -> S3Settings:
        """The settings from flags, which are written with underscores here."""
        settings = self.load({name.replace("_", "-"): value for name, value in values.items()})
        self.assert_fine(warnings)
        return settings

    def problem(self, **values: object) -> str:
        """The only problem of the flags."""
        self.load({name.replace("_", "-"): value for name, value in values.items()})
        (problem,) = self.findings.problems
        return problem


class Layers(S3TestCase):
    """Flag over environment over default."""

    def test_defaults(self) -> None:
        """A bucket is all that is needed; it is one of AWS then."""
        self.assertEqual(self.fine(), self.default)

    def test_rows(self) -> None:
        """Every option has a flag that wins over its variable, and a variable that counts alone."""
        secure: dict[str, object] = {"host": "https://minio"}
        redirect: dict[str, object] = {**secure, "redirect": 1}
        base = self.fine(**secure)
        redirecting = evolve(base, redirect=True)
        spool = str(self.directory)
        for flag, variable, value, others, expected in (
            ("bucket", "S3_BUCKET", "Other_1", secure, evolve(base, bucket="Other_1")),
            ("host", "S3_HOST", "https://s3", {}, evolve(base, endpoint="https://s3")),
            ("region", "S3_REGION", "eu-west-1", secure, evolve(base, region="eu-west-1")),
            ("prefix", "S3_PREFIX", "a/b/", secure, evolve(base, prefix="a/b")),
            ("addressing", "S3_ADDRESSING", "Auto", secure, evolve(base, addressing="auto")),
            ("spool", "S3_SPOOL", spool, secure, evolve(base, spool=spool)),
            ("s3-connections", "S3_CONNECTIONS", "4", secure, evolve(base, connections=4)),
            ("proxy", "S3_PROXY", "http://p:3128", secure, evolve(base, proxy=PROXY)),
            ("proxy", "S3_PROXY", "Environment", secure, evolve(base, proxy="environment")),
            ("proxy", "S3_PROXY", "none", {}, evolve(self.default, proxy="none")),
            ("redirect", "S3_REDIRECT", "yes", secure, redirecting),
            (
                "redirect-ranges",
                "S3_REDIRECT_RANGES",
                "1",
                redirect,
                evolve(redirecting, redirect_ranges=True),
            ),
            (
                "redirect-host",
                "S3_REDIRECT_HOST",
                "s3.example",
                redirect,
                evolve(redirecting, redirect_endpoint="https://s3.example"),
            ),
        ):
            flagged = self.load({**others, flag: value}, {variable: "?"})
            self.assertEqual(flagged, expected, flag)
            self.assert_fine()
            environ = self.load({**others, flag: None}, {variable: f" {value} "})
            self.assertEqual(environ, expected, variable)
            self.assert_fine()
            for blank in ("", "  "):
                unset = self.load({**others, "bucket": "cache"}, {variable: blank})
                self.assertEqual(unset, self.load(others), variable)

    def test_without_boto3(self) -> None:
        """Without the SDK a bucket is a problem that says what to install, beside all others."""
        self.patch(s3, "find_spec", lambda name: None)
        self.load({"region": "a b"})
        first, second = self.findings.problems
        self.assertEqual(
            "s3: needs boto3, which is not installed: pip install 'oci-registry[s3]'", first
        )
        self.assertIn("s3 --region", second)

    def test_empty_flags(self) -> None:
        """An empty flag is a problem and told once, except that no host means AWS."""
        needed: dict[str, dict[str, object]] = {
            "access-key": {"secret-key": "x"},
            "secret-key": {"access-key": "alice"},
            "secret-key-file": {"access-key": "alice"},
            "redirect-host": {"redirect": 1},
        }
        for flag in sorted({*FLAGS} - {"host", "redirect", "redirect-ranges"}):
            self.load({**needed.get(flag, {}), flag: " "})
            self.assertEqual(self.findings.problems, [f"s3 --{flag}: is empty"])
        self.assertEqual(self.load({"host": ""}, {"S3_HOST": "http://minio"}), self.default)
        self.assert_fine()

    def test_all_problems_at_once(self) -> None:
        """Everything that is wrong is reported, each with its source."""
        wrong = {
            "S3_HOST": "x y",
            "S3_BUCKET": "a/b",
            "S3_SECRET_KEY_FILE": "/nowhere",
            "S3_REGION": "a b",
            "S3_PREFIX": "/",
            "S3_ADDRESSING": "x",
            "S3_CA_FILE": "/nowhere",
            "S3_SPOOL": "/dev/null",
            "S3_REDIRECT": "x",
            "S3_REDIRECT_RANGES": "x",
            "S3_REDIRECT_HOST": "x/y",
            "S3_CONNECTIONS": "x",
            "S3_PROXY": "p:3128",
        }
        self.load({"bucket": None, "spool": None, "access-key": "alice"}, wrong)
        sources = [problem.partition(":")[0] for problem in self.findings.problems]
        # Without a redirect the host for it is wrong twice.
        self.assertEqual(sorted(sources), sorted([*wrong, "S3_REDIRECT_HOST"]))

    @given(st.dictionaries(st.sampled_from(FLAGS), st.text(max_size=10)))
    def test_anything(self, flags: dict[str, object]) -> None:
        """Any flags give settings, or problems without an empty one among them."""
        self.load(flags)
        self.assertTrue(all(self.findings.problems))


class Proxies(S3TestCase):
    """How the server is reached."""

    def test_default(self) -> None:
        """A server that is named is reached directly whatever the environment says, AWS is not."""
        environ = {"HTTPS_PROXY": "http://p:3128", "http_proxy": "http://p:3128"}
        self.assertEqual(self.load({"host": "https://minio"}, environ).proxy, "none")
        self.assertEqual(self.load({}, environ).proxy, "environment")

    def test_credentials(self) -> None:
        """Credentials for the proxy stay out of messages; a flag and plain http are warned of."""
        url = f"http://alice:{SECRET}@p:3128"
        for flags, environ, warnings in (
            ({"proxy": url}, {}, 2),
            ({}, {"S3_PROXY": url}, 1),
            ({}, {"S3_PROXY": url.replace("http:", "https:")}, 0),
        ):
            settings = self.load(flags, environ)
            self.assertEqual(settings.proxy.credentials.password, SECRET)  # type: ignore[union-attr]
            self.assert_fine(warnings)
            self.assertNotIn(SECRET, settings.description)
            self.assertIn(
                "bucket cache (AWS, us-east-1), through the proxy p:3128", settings.description
            )

    def test_refused(self) -> None:
        """What is none of these is a problem, without any of it."""
        problem = self.problem(proxy=f"socks5://x:{SECRET}@p")
        self.assertIn("s3 --proxy: SOCKS proxies are not supported", problem)
        self.assertIn("or none, or environment", problem)


class Server(S3TestCase):
    """Which server, and which bucket there."""

    def test_addressing(self) -> None:
        """Other servers than AWS are asked with the bucket in the path, unless told otherwise."""
        self.assertEqual(self.fine().addressing, "auto")
        self.assertEqual(self.fine(host="https://minio").addressing, "path")
        for style in ("path", "virtual", "auto"):
            self.assertEqual(self.fine(addressing=style).addressing, style)
            chosen = self.fine(addressing=style, host="https://minio").addressing
            self.assertEqual(chosen, style)

    def test_virtual(self) -> None:
        """A bucket whose name cannot be in a host cannot be addressed so."""
        problem = self.problem(addressing="virtual", bucket="My_cache")
        self.assertIn("s3: the bucket My_cache cannot be part of a host name", problem)
        self.assertEqual(self.fine(addressing="path", bucket="My_cache").bucket, "My_cache")

    def test_unencrypted(self) -> None:
        """A server reached by http is warned of, unless it is on the same machine."""
        for host in ("http://minio:9000", "http://10.0.0.1", "http://[fd00::1]:9000"):
            self.assertEqual(self.fine(1, host=host).endpoint, host)
            self.assertIn("s3 --host: uses plain http", self.findings.warnings[0])
        for host in (
            *("https://minio:9000", "http://localhost:9000", "http://s3.localhost"),
            *("http://127.0.0.2:9000", "http://[::1]:9000", "http://[::1]"),
        ):
            self.assertEqual(self.fine(host=host).endpoint, host)

    def test_bucket_is_required(self) -> None:
        """Without a bucket nothing can be kept."""
        self.assertEqual(self.problem(bucket=None), "s3: --bucket or S3_BUCKET is required")

    def test_region(self) -> None:
        """Whatever servers call a region is one, if it can be written into a signature."""
        for region in ("garage", "us-gov-west-1", "default_1"):
            self.assertEqual(self.fine(region=region).region, region)
        for region in ("a/b", "a b", "ä", "x" * 65):
            self.assertIn("s3 --region: ", self.problem(region=region))

    def test_connections(self) -> None:
        """From 4 to 1024 connections can be kept."""
        for number in ("4", "1024", "0032"):
            self.assertEqual(self.fine(s3_connections=number).connections, int(number))
        for text in ("3", "1025", "-4", "4.0", "four", "٤٢", "9" * 5000):
            problem = self.problem(s3_connections=text)
            self.assertIn("s3 --s3-connections: must be a number from 4 to 1024, not ", problem)
            self.assertLess(len(problem), 200)

    def test_redirect(self) -> None:
        """Options for sending clients to the bucket require --redirect."""
        for values in ({"redirect_ranges": 1}, {"redirect_host": "https://s3"}):
            self.assertIn("requires --redirect or S3_REDIRECT", self.problem(**values))
            self.fine(redirect=1, **values)


class Paths(S3TestCase):
    """Files and directories."""

    def test_ca_file(self) -> None:
        """The file has to hold certificates; with http it has no effect."""
        certificate = self.write("ca.pem", pem()[0])
        name = os.path.relpath(certificate)
        self.assertEqual(self.fine(ca_file=name).ca_file, certificate)
        self.fine(2, ca_file=certificate, host="http://minio")
        self.assertIn("s3 --ca-file: has no effect", self.findings.warnings[1])
        for path, reason in {
            str(self.directory / "missing"): "cannot be read: No such file",
            self.write("key.pem", pem()[1]): "no certificate",
        }.items():
            self.assertIn(f"s3 --ca-file: {path} ", self.problem(ca_file=path))
            self.assert_problem(reason)

    def test_spool(self) -> None:
        """The spool is absolute, need not exist, and has to be writable."""
        relative = os.path.relpath(self.spool)
        self.assertEqual(self.fine(spool=relative).spool, self.spool)
        self.assertFalse(os.path.exists(self.spool))
        file = self.write("file", "")
        self.assertEqual(self.problem(spool=f"{file}/x"), f"s3 --spool: {file} is not a directory")
        self.patch(os, "access", lambda path, mode: False)
        self.assertIn("cannot be written to", self.problem())

    def test_default_spool(self) -> None:
        """It is below TMPDIR, else where big temporary files belong, else where others are."""
        name = "oci-registry-spool"
        self.assertEqual(default_spool({"TMPDIR": "/x/"}), f"/x/{name}")
        big = str(self.directory)
        self.assertEqual(default_spool({"TMPDIR": " "}, big), str(self.directory / name))
        self.patch(s3.tempfile, "gettempdir", lambda: "/elsewhere")
        self.assertEqual(default_spool({}, f"{big}/missing"), f"/elsewhere/{name}")

    def test_default_spool_of_others(self) -> None:
        """A directory of the default name is not used if others made it or can write to it."""
        spool = self.directory / "oci-registry-spool"
        environ = {"TMPDIR": str(self.directory)}
        self.assertEqual(self.load({"spool": None}, environ).spool, str(spool))
        spool.mkdir(0o700)
        self.load({"spool": None}, environ)
        self.assert_fine()
        for mode in (0o770, 0o707):
            spool.chmod(mode)
            self.load({"spool": None}, environ)
            self.assert_problem(f"s3 --spool: {spool} is a symbolic link, or another user")
            self.fine(spool=str(spool))
        spool.chmod(0o700)
        self.patch(os, "geteuid", lambda: spool.stat().st_uid + 1)
        self.load({"spool": None}, environ)
        self.assert_problem("another user owns it")

    def test_default_spool_behind_a_link(self) -> None:
        """A link of the default name is not used, wherever it leads to."""
        target = self.directory / "target"
        target.mkdir(0o700)
        Path(self.directory / "oci-registry-spool").symlink_to(target)
        self.load({"spool": None}, {"TMPDIR": str(self.directory)})
        self.assert_problem("is a symbolic link")
