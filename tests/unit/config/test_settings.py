"""The frozen settings."""

from __future__ import annotations

from attrs.exceptions import FrozenInstanceError
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config import (
    ALIASES,
    BUILTIN_UPSTREAMS,
    ConfigError,
    Credentials,
    FilesystemSettings,
    Settings,
    UpstreamSettings,
)

from .support import SECRET


class Values(SynchronousTestCase):
    """What every other room is given."""

    def test_defaults(self) -> None:
        """Besides where to listen and to store, everything has a default."""
        settings = Settings(listen=("tcp:80",), storage=FilesystemSettings("/cache"))
        self.assertEqual(settings.default_namespace, "docker.io")
        self.assertEqual(settings.upstreams, BUILTIN_UPSTREAMS)
        self.assertTrue(settings.allow_dynamic_upstreams)
        self.assertFalse(settings.check_cache_digest)
        self.assertEqual((settings.log_level, settings.log_format), ("info", "text"))
        self.assertEqual(settings.shutdown_grace, 30.0)
        self.assertEqual(settings.warnings, ())

    def test_frozen(self) -> None:
        """Nothing can be changed afterwards."""
        upstream = UpstreamSettings(namespace="a", host="b")
        with self.assertRaises(FrozenInstanceError):
            upstream.host = "c"

    def test_password_is_not_shown(self) -> None:
        """The password appears in no repr, however deep the credentials lie."""
        settings = Settings(
            listen=(),
            storage=FilesystemSettings("/cache"),
            upstreams=(
                UpstreamSettings(
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
            upstream, UpstreamSettings(namespace="ghcr.io", host="ghcr.io", configured=False)
        )
        self.assertTrue(upstream.tls)
        self.assertEqual(upstream.manifest_invalidation_time, 14 * 86400)

    def test_docker_hub_is_known(self) -> None:
        """docker.io is reached at its registry, which is itself another name for docker.io."""
        (upstream,) = BUILTIN_UPSTREAMS
        self.assertEqual((upstream.namespace, upstream.host), ("docker.io", "registry-1.docker.io"))
        self.assertEqual(
            dict(ALIASES), {"index.docker.io": "docker.io", "registry-1.docker.io": "docker.io"}
        )


class Errors(SynchronousTestCase):
    """ConfigError."""

    def test_one_line_for_each(self) -> None:
        """All problems are told, one on a line."""
        error = ConfigError(["first", "second"])
        self.assertEqual(error.problems, ("first", "second"))
        self.assertEqual(str(error), "first\nsecond")
