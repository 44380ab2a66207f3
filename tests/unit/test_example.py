"""The example of an upstream file, and the reference of its keys."""

from __future__ import annotations

import os
from pathlib import Path

from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    Credentials,
    HostSettings,
    ProxySettings,
    Settings,
)
from oci_registry.config.upstreams import KEYS

from .test_tap import TapTestCase

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "example.yaml"
REFERENCE = PROJECT / "docs" / "reference" / "upstream-file.md"
FORTNIGHT = 14 * 86400.0


class Example(TapTestCase):
    """example.yaml, as it is delivered."""

    def load(self) -> Settings:
        # Its mode is whatever the checkout gave it, and a password in it is no secret.
        copy = Path(self.mktemp())
        copy.write_bytes(EXAMPLE.read_bytes())
        os.chmod(copy, 0o600)
        return self.parse("--upstream-config-file", str(copy)).settings

    def test_loads(self) -> None:
        """It loads without a warning, with the registries it promises."""
        settings = self.load()
        self.assertEqual(settings.warnings, ())
        self.assertEqual(
            [(upstream.namespace, upstream.hosts[0].host) for upstream in settings.upstreams],
            [
                ("docker.io", "registry-1.docker.io"),
                ("quay.io", "quay.io"),
                ("gcr.io", "gcr.io"),
                ("ghcr.io", "ghcr.io"),
                ("k8s.gcr.io", "k8s.gcr.io"),
                ("registry.k8s.io", "registry.k8s.io"),
                ("example.com", "registry.example.com"),
                ("mirrored.example.com", "mirror.example.com:5000"),
            ],
        )

    def test_defaults_are_true(self) -> None:
        """What it shows as defaults are the defaults."""
        docker = self.load().upstreams[0]
        self.assertEqual(docker, BUILTIN_UPSTREAMS[0])
        self.assertEqual(docker.blob_invalidation_time, FORTNIGHT)

    def test_private(self) -> None:
        """The private registry has everything one may want."""
        private = self.load().upstreams[-2]
        self.assertEqual(private.user_agent, "containerd/1.6.8")
        self.assertEqual(private.hosts[0].credentials, Credentials("example", "hunter2"))
        self.assertEqual(private.manifest_invalidation_time, 0)
        self.assertEqual(private.blob_invalidation_time, 30 * 86400)

    def test_hosts(self) -> None:
        """A registry with a mirror has hosts with what is special about each."""
        proxy = ProxySettings("proxy.example.com", 3128)
        self.assertEqual(
            self.load().upstreams[-1].hosts,
            (
                HostSettings("mirror.example.com:5000", tls=False, proxy="none"),
                HostSettings(
                    "registry.mirrored.example.com",
                    credentials=Credentials("example", "hunter2"),
                    proxy=proxy,
                ),
                HostSettings("standby.mirrored.example.com", proxy=proxy),
            ),
        )

    def test_every_key(self) -> None:
        """Every key is explained, in use or in a comment, and is in the reference."""
        text = EXAMPLE.read_text()
        reference = REFERENCE.read_text()
        for key in KEYS:
            self.assertRegex(text, rf"(?m)^[ #-]*{key}:")
            self.assertIn(f"\n| `{key}` |", reference)
