"""The frozen settings."""

from __future__ import annotations

from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import (
    ALIASES,
    BUILTIN_UPSTREAMS,
    ConfigError,
    Credentials,
    EgressSettings,
    FilesystemSettings,
    S3Settings,
    Settings,
    UpstreamSettings,
)
from tests.support.settings import upstream_settings

from .support import SECRET


class Values(SynchronousTestCase):
    """What every other room is given."""

    def test_defaults(self) -> None:
        """Besides where to listen and to store, everything has a default."""
        settings = Settings(listen=("tcp:80",), storage=FilesystemSettings("/cache"))
        self.assertEqual(settings.default_namespace, "docker.io")
        self.assertEqual(settings.upstreams, BUILTIN_UPSTREAMS)
        self.assertTrue(settings.allow_dynamic_upstreams)
        self.assertEqual(settings.egress, EgressSettings(None, None, (), allow_private=False))
        self.assertFalse(settings.check_cache_digest)
        self.assertEqual((settings.log_level, settings.log_format), ("info", "text"))
        self.assertEqual(settings.shutdown_grace, 30.0)
        self.assertEqual(settings.warnings, ())

    def test_frozen(self) -> None:
        """Nothing can be changed afterwards."""
        upstream = upstream_settings(namespace="a", host="b")
        with self.assertRaises(FrozenInstanceError):
            upstream.namespace = "c"

    def test_password_is_not_shown(self) -> None:
        """The password appears in no repr, however deep the credentials lie."""
        settings = Settings(
            listen=(),
            storage=FilesystemSettings("/cache"),
            upstreams=(
                upstream_settings(
                    namespace="a.example",
                    host="a.example",
                    credentials=Credentials(username="alice", password=SECRET),
                ),
            ),
        )
        self.assertNotIn(SECRET, repr(settings))
        self.assertIn("alice", repr(settings))

    def test_dynamic(self) -> None:
        """An upstream that a client named is asked over https at its own name, with defaults."""
        upstream = UpstreamSettings.dynamic("ghcr.io")
        self.assertEqual(
            upstream,
            upstream_settings(namespace="ghcr.io", host="ghcr.io", configured=False, guarded=True),
        )
        self.assertTrue(upstream.hosts[0].tls)
        self.assertEqual(upstream.manifest_invalidation_time, 14 * 86400)

    def test_docker_hub_is_known(self) -> None:
        """docker.io is reached at its registry, which is itself another name for docker.io."""
        (upstream,) = BUILTIN_UPSTREAMS
        self.assertEqual(
            (upstream.namespace, upstream.hosts[0].host), ("docker.io", "registry-1.docker.io")
        )
        names = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
        self.assertEqual(dict(ALIASES), dict.fromkeys(names, "docker.io"))

    def test_upper_case(self) -> None:
        """Hugging Face is known for the upper case of its repositories."""
        for host, expected in {"hf.co": True, "huggingface.co": True, "ghcr.io": False}.items():
            self.assertEqual(UpstreamSettings.dynamic(host).upper_case_names, expected)


class Storages(SynchronousTestCase):
    """Where objects are kept."""

    def test_bucket_defaults(self) -> None:
        """Besides the bucket and the spool, everything has a default."""
        self.assertEqual(
            S3Settings("cache", spool="/spool"),
            S3Settings(
                bucket="cache",
                endpoint=None,
                access_key=None,
                secret_key=None,
                region="us-east-1",
                prefix="",
                addressing="auto",
                ca_file=None,
                spool="/spool",
                redirect=False,
                redirect_ranges=False,
                redirect_endpoint=None,
                connections=32,
            ),
        )

    def test_secret_key_is_not_shown(self) -> None:
        """The secret key appears neither in the repr nor in what is logged."""
        storage = S3Settings("cache", access_key="AKIA", secret_key=SECRET, spool="/spool")
        settings = Settings(listen=(), storage=storage)
        for shown in (repr(settings), str(storage), storage.description):
            self.assertNotIn(SECRET, shown)

    def test_descriptions(self) -> None:
        """The log names the directory, or the bucket with its place."""
        bucket = S3Settings("cache", region="eu-west-3", spool="/spool")
        for storage, text in (
            (FilesystemSettings("/cache"), "/cache"),
            (bucket, "bucket cache (AWS, eu-west-3)"),
            (evolve(bucket, prefix="a/b"), "bucket cache (AWS, eu-west-3), prefix a/b"),
            (evolve(bucket, endpoint="http://s3:9000"), "bucket cache at s3:9000"),
            (
                evolve(bucket, endpoint="https://s3.example", prefix="a"),
                "bucket cache at s3.example, prefix a",
            ),
        ):
            self.assertEqual(storage.description, text)


class Errors(SynchronousTestCase):
    """ConfigError."""

    def test_one_line_for_each(self) -> None:
        """All problems are reported, one on a line."""
        error = ConfigError(["first", "second"])
        self.assertEqual(error.problems, ("first", "second"))
        self.assertEqual(str(error), "first\nsecond")
