"""Settings as people read them."""

from __future__ import annotations

from typing import Any

import yaml
from attrs import evolve, fields

from oci_registry.config.files import fingerprint
from oci_registry.config.settings import (
    AgeRule,
    Credentials,
    EgressSettings,
    FilesystemSettings,
    HostSettings,
    MinAges,
    ProxySettings,
    S3Settings,
    Settings,
    UpstreamSettings,
)
from oci_registry.config.shown import show
from oci_registry.config.upstreams import load_upstreams
from oci_registry.spec.patterns import parse_pattern
from oci_registry.spec.sizes import parse_size

from .support import SECRET, ConfigTestCase, pem

ALICE = Credentials("alice", SECRET)
PLAIN = Settings(listen=("tcp:80",), storage=FilesystemSettings("/cache"))


class Showing(ConfigTestCase):
    """What --check-config prints."""

    def shown(self, settings: Settings) -> dict[str, Any]:
        text = show(settings)
        self.assertNotIn(SECRET, text)
        document: dict[str, Any] = yaml.safe_load(text)
        return document

    def test_defaults(self) -> None:
        """Options are shown by the names of their flags, and what is built in as well."""
        document = self.shown(PLAIN)
        (docker,) = document.pop("upstream-config-file")
        self.assertEqual(
            document,
            {
                "listen": ["tcp:80"],
                "admin-listen": [],
                "default-namespace": "docker.io",
                "upstreams": "any",
                "offline": False,
                "allow-private-upstreams": False,
                "check-cache-digest": False,
                "plain-http": False,
                "log-level": "info",
                "log-format": "text",
                "access-log": "text",
                "shutdown-grace": "30s",
                "workers": 1,
                "scrub-interval": "0s",
                "scrub-rate": "20MB",
                "filesystem": {"root": "/cache"},
                "proxies": {},
            },
        )
        self.assertEqual(docker["namespace"], "docker.io")
        self.assertEqual(docker["hosts"][0]["host"], "registry-1.docker.io")
        self.assertEqual(docker["manifest_invalidation_time"], "14d")

    def test_every_option_has_a_place(self) -> None:
        """Each field of the settings is shown, or told elsewhere: warnings go to standard error."""
        elsewhere = {"warnings", "storage", "allow_dynamic_upstreams", "egress", "sources"}
        # The first is a place to listen, the second a secret.
        elsewhere |= {"admin_socket", "admin_token"}
        limited = evolve(
            PLAIN,
            max_size=parse_size("80 %"),
            min_free=parse_size("1GiB"),
            admin_token_file="/t",
        )
        shown = {name.replace("-", "_") for name in self.shown(limited)}
        self.assertEqual({field.name for field in fields(Settings)} - elsewhere - shown, set())

    def test_admin(self) -> None:
        """That there is no admin socket is shown as it was given, and the token is not shown."""
        shown = self.shown(
            evolve(
                PLAIN,
                admin_listen=("tcp:81",),
                admin_socket=False,
                admin_token="hidden",
                admin_token_file="/t",
            )
        )
        self.assertEqual(["tcp:81", "none"], shown["admin-listen"])
        self.assertEqual("/t", shown["admin-token-file"])
        self.assertNotIn("hidden", repr(shown))

    def test_access_log(self) -> None:
        """The access log is shown as it will be, whether it was chosen or is as the log."""
        for level, style, form, shown in (
            ("debug", "text", None, "text"),
            ("info", "json", None, "json"),
            ("warn", "text", None, "off"),
            ("off", "json", None, "off"),
            ("warn", "text", "json", "json"),
            ("info", "json", "combined", "combined"),
            ("info", "text", "off", "off"),
        ):
            settings = evolve(PLAIN, log_level=level, log_format=style, access_log=form)
            self.assertEqual(shown, self.shown(settings)["access-log"])

    def test_bucket(self) -> None:
        """A bucket is shown with its access key and a mask for the secret one."""
        storage = S3Settings(
            bucket="cache", endpoint="http://s3", access_key="AK", secret_key=SECRET, spool="/spool"
        )
        bucket = self.shown(evolve(PLAIN, storage=storage))["s3"]
        self.assertEqual((bucket["access-key"], bucket["secret-key"]), ("AK", "***"))
        self.assertEqual(bucket["host"], "http://s3")
        full = S3Settings(*(f.name for f in fields(S3Settings) if not f.kw_only), spool="/spool")
        shown = self.shown(evolve(PLAIN, storage=full))["s3"]
        self.assertEqual(len(fields(S3Settings)), len(shown))
        proxied = evolve(storage, proxy=ProxySettings("p", 3128, credentials=ALICE))
        shown = self.shown(evolve(PLAIN, storage=proxied))["s3"]
        self.assertEqual("http://***:***@p:3128", shown["proxy"])

    def test_bucket_without_keys(self) -> None:
        """What has not been given has no line, so that a mask means a secret."""
        bucket = self.shown(evolve(PLAIN, storage=S3Settings(bucket="cache", spool="/spool")))["s3"]
        self.assertFalse({"host", "access-key", "secret-key", "redirect-host"} & set(bucket))

    def test_proxies(self) -> None:
        """Proxies are shown as URLs, without user names and passwords."""
        egress = EgressSettings(
            https_proxy=ProxySettings("proxy", 3128, tls=True, credentials=ALICE),
            http_proxy=ProxySettings("::1", 80),
            no_proxy=("corp.example", "10.0.0.0/8"),
            allow_private=True,
        )
        document = self.shown(evolve(PLAIN, egress=egress))
        self.assertEqual(
            document["proxies"],
            {
                "HTTPS_PROXY": "https://***:***@proxy:3128",
                "HTTP_PROXY": "http://[::1]:80",
                "NO_PROXY": "corp.example,10.0.0.0/8",
            },
        )
        self.assertTrue(document["allow-private-upstreams"])

    def test_upstreams_can_be_read_again(self) -> None:
        """Upstreams are shown as a file that means the same, but for the secrets."""
        certificate, key = pem()
        pair = self.write("pair.pem", certificate + key)
        host = HostSettings(
            host="a.example:5000",
            tls=False,
            accept_invalid_certs=True,
            ca_file=pair,
            client_cert_file=pair,
            client_key_file=pair,
            credentials=ALICE,
            token_servers=("auth.example.net", "auth.lan:5001"),
            proxy=ProxySettings("proxy", 3128, credentials=ALICE),
        )
        upstream = UpstreamSettings(
            "corp.example",
            (host, HostSettings("b.example:5000", proxy="none", path="a/b", absolute=True)),
            "ua",
            *(float(seconds) for seconds in range(1, 10)),
            trust_not_found=False,
            retries=9,
            max_connections=17,
            upper_case_names=True,
            offline=True,
            prefetch=True,
            rate_limit_reserve=10,
            min_age=MinAges(
                (AgeRule(parse_pattern("a/*:latest"), 86400.0), AgeRule(parse_pattern("*"), 0.0))
            ),
            pin=(parse_pattern("a/b:1.*"), parse_pattern("team/*")),
            keep_newest_tags=3,
            max_size=parse_size("50GiB"),
        )
        same = [f.name for f in fields(UpstreamSettings) if getattr(upstream, f.name) == f.default]
        self.assertEqual(same, ["configured"], "give the new one another value than its default")
        document = self.shown(evolve(PLAIN, upstreams=(upstream,)))
        path = self.write("upstreams.yaml", yaml.safe_dump(document["upstream-config-file"]))
        (read,) = load_upstreams(path, self.findings)
        self.assertEqual(self.findings.problems, [])
        masked = Credentials("alice", "***")
        proxy = ProxySettings("proxy", 3128, credentials=Credentials("***", "***"))
        first = evolve(
            host, credentials=masked, proxy=proxy, fingerprint=fingerprint(pair, pair, pair)
        )
        self.assertEqual(read, evolve(upstream, hosts=(first, upstream.hosts[1])))
