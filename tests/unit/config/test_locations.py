"""Where the hosts of an entry are."""

from __future__ import annotations

from oci_registry.config.settings import HostSettings
from oci_registry.config.upstreams import load_upstreams

from .support import ConfigTestCase


class Locations(ConfigTestCase):
    """host."""

    def test_path(self) -> None:
        """What follows a slash stands before repositories; with it the host is named."""
        host = self.host_at("harbor.example.com/dockerhub")
        self.assertEqual(host, HostSettings("harbor.example.com", path="dockerhub"))
        self.assertEqual(host.name, "harbor.example.com/dockerhub")
        self.assert_fine()

    def test_names_of_the_dns(self) -> None:
        """A name may have underscores, and a dot at its end, which the look-up alone gets."""
        self.assertEqual(self.host_at("my_registry:5000"), HostSettings("my_registry:5000"))
        self.assertEqual(self.host_at("b.example."), HostSettings("b.example", absolute=True))
        self.assert_fine()

    def test_docker_hub(self) -> None:
        """The name of Docker Hub is not where its API is: that is asked, and a warning tells so."""
        for name in ("docker.io", "index.docker.io", "Docker.io:443", "registry.hub.docker.com."):
            self.assertEqual(self.host_at(name).host, "registry-1.docker.io")
            self.assert_fine(warnings=1)
            self.assertIn(
                "reached at registry-1.docker.io: write that host", self.findings.warnings[0]
            )
        for name in ("registry-1.docker.io", "registry-1.docker.io:443", "docker.io:5000"):
            self.assertEqual(self.host_at(name).host, name)
            self.assert_fine()

    def host_at(self, text: str) -> HostSettings:
        """The host that is written so, in an entry or in its list of hosts."""
        self.findings.warnings.clear()
        (one,) = self.load(f"  hosts: ['{text}']")
        self.findings.warnings.clear()
        (other,) = self.load(f"  host: '{text}'")
        self.assertEqual(one, other)
        return other

    def load(self, text: str) -> tuple[HostSettings, ...]:
        path = self.write("u.yaml", f"- namespace: a.example\n{text}\n", 0o600)
        (upstream,) = load_upstreams(path, self.findings)
        return upstream.hosts
