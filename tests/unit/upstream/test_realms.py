"""Which token servers may see an upstream's credentials."""

from __future__ import annotations

from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.upstream.schemes.realms import realm_is_trusted, resolve_realm, server_of

HUB = "https://registry-1.docker.io"


class Realms(SynchronousTestCase):
    """Realms that may be trusted, and others."""

    def test_trusted(self) -> None:
        """The upstream's own host and its registrable domain are trusted."""
        for realm, upstream in (
            ("https://auth.docker.io/token", HUB),
            ("https://AUTH.Docker.IO/token", HUB),
            ("https://docker.io/token", HUB),
            ("https://quay.io/v2/auth", "https://quay.io"),
            ("https://auth.example.co.uk/t", "https://registry.example.co.uk"),
            ("https://auth.corp.internal/t", "https://registry.corp.internal"),
            ("https://localhost:5001/auth", "https://localhost:5000"),
            ("http://127.0.0.1:5001/auth", "http://127.0.0.1:5000"),
            ("http://[::1]:5001/auth", "http://[::1]:5000"),
            ("https://registry/auth", "http://registry"),
        ):
            self.assertTrue(realm_is_trusted(realm, upstream), (realm, upstream))

    def test_foreign(self) -> None:
        """Another domain is not, however much it looks like the right one."""
        for realm in (
            "https://evil.com/token",
            "https://evildocker.io/token",
            "https://docker.io.evil.com/token",
            "https://auth.docker.io.evil.com/token",
            "https://evil.com/auth.docker.io",
            "https://evil.com?auth.docker.io",
            "https://evil.com#@auth.docker.io",
            "https://auth.docker.io@evil.com/",
            "https://evil.com\\@auth.docker.io/",
            "https://auth.docker.com/token",
            "https://io/token",
        ):
            self.assertFalse(realm_is_trusted(realm, HUB), realm)

    def test_neighbours(self) -> None:
        """A server that shares no more than a public suffix, or an address's first numbers, is a stranger."""
        for realm, upstream in (
            ("https://b.co.uk/t", "https://a.co.uk"),
            ("https://b.github.io/t", "https://a.github.io"),
            ("https://github.io/t", "https://a.github.io"),
            ("https://auth.internal/t", "https://registry.internal"),
            ("https://auth/t", "https://registry"),
            ("http://10.0.0.2/t", "http://10.0.0.1"),
            ("http://127.0.0.1/t", "http://localhost"),
            ("http://[::2]/t", "http://[::1]"),
            ("http://1.0.0.10/t", "http://2.0.0.10"),
        ):
            self.assertFalse(realm_is_trusted(realm, upstream), (realm, upstream))

    def test_not_to_plain_http(self) -> None:
        """What was asked over https does not send credentials over http."""
        self.assertFalse(realm_is_trusted("http://auth.docker.io/token", HUB))
        self.assertFalse(realm_is_trusted("http://registry-1.docker.io/token", HUB))
        self.assertTrue(realm_is_trusted("https://auth.docker.io/t", "http://registry-1.docker.io"))

    def test_own_credentials(self) -> None:
        """A realm that brings its own user is not trusted, not even on the right host."""
        for realm in ("https://user@auth.docker.io/", "https://u:p@registry-1.docker.io/"):
            self.assertFalse(realm_is_trusted(realm, HUB), realm)

    def test_not_a_url(self) -> None:
        """What is not an http URL is not trusted, and raises nothing."""
        for realm in ("", "auth.docker.io", "/token", "//auth.docker.io/", "file:///etc/passwd"):
            self.assertFalse(realm_is_trusted(realm, HUB), realm)
        for realm in ("ftp://auth.docker.io/", "https://", "https://[::1", "https://[x]/", "\\"):
            self.assertFalse(realm_is_trusted(realm, HUB), realm)

    def test_pairs(self) -> None:
        """Public registries have the token server that they are documented to have, and no other."""
        pairs = {
            "docker.io": "auth.docker.io",
            "index.docker.io": "auth.docker.io",
            "registry-1.docker.io": "auth.docker.io",
            "registry.hub.docker.com": "auth.docker.io",
            "nvcr.io": "authn.nvidia.com",
            "rg.fr-par.scw.cloud": "api.scaleway.com",
            "rg.nl-ams.scw.cloud": "api.scaleway.com",
            "registry.redhat.io": "sso.redhat.com",
        }
        for registry, server in pairs.items():
            for other in set(pairs.values()):
                trusted = realm_is_trusted(f"https://{other}/t", f"https://{registry}")
                self.assertEqual(other == server, trusted, (registry, other))

    def test_nearly_a_pair(self) -> None:
        """Another host, port or scheme is no such pair."""
        for realm, upstream in (
            ("https://authn.nvidia.com/token", "https://nvcr.io.example.com"),
            ("https://authn.nvidia.com/token", "https://x.nvcr.io"),
            ("https://authn.nvidia.com/token", "https://xnvcr.io"),
            ("https://authn.nvidia.com/token", "http://nvcr.io"),
            ("https://authn.nvidia.com:8443/token", "https://nvcr.io"),
            ("http://authn.nvidia.com/token", "https://nvcr.io"),
            ("https://x.authn.nvidia.com/token", "https://nvcr.io"),
            ("https://api.scaleway.com/t", "https://rg.evil.scw.cloud"),
            ("https://api.scaleway.com/t", "https://s3.fr-par.scw.cloud"),
        ):
            self.assertFalse(realm_is_trusted(realm, upstream), (realm, upstream))

    def test_allowed(self) -> None:
        """A server that the operator has allowed is trusted, at its port, over https."""
        for server, realm, expected in (
            ("auth.example.net", "https://auth.example.net/t", True),
            ("auth.example.net", "https://AUTH.example.net:443/t", True),
            ("auth.example.net:443", "https://auth.example.net/t", True),
            ("auth.example.net:5001", "https://auth.example.net:5001/t", True),
            ("auth.example.net", "https://auth.example.net:5001/t", False),
            ("auth.example.net:5001", "https://auth.example.net/t", False),
            ("auth.example.net", "https://x.auth.example.net/t", False),
            ("auth.example.net", "http://auth.example.net/t", False),
            ("auth.example.net", "https://u@auth.example.net/t", False),
            ("auth.lan", "https://auth.lan/t", True),
            ("10.0.0.1:5001", "https://10.0.0.1:5001/t", True),
            ("[::1]:5001", "https://[::1]:5001/t", True),
        ):
            self.assertEqual(expected, realm_is_trusted(realm, HUB, ["x.example", server]), realm)
        self.assertTrue(realm_is_trusted("http://auth.lan/t", "http://registry.lan", ["auth.lan"]))

    def test_as_the_key_has_it(self) -> None:
        """What is told of a refused realm is what allows it."""
        for realm in ("https://Auth.lan/t", "https://auth.lan:5001", "https://[::1]:5001/t"):
            self.assertTrue(realm_is_trusted(realm, HUB, [server_of(realm)]), realm)

    @given(st.text() | st.text().map(lambda text: f"https://{text}") | st.just("https://.."))
    def test_any_text(self, realm: str) -> None:
        """Whatever a realm is, it does not raise, and none but the domain is trusted."""
        if realm_is_trusted(realm, HUB):
            host = urlsplit(realm).hostname
            assert host is not None
            self.assertTrue(f".{host}".endswith(".docker.io"), realm)

    @given(st.text() | st.text().map(lambda text: f"/{text}"))
    def test_any_realm(self, realm: str) -> None:
        """Whatever a challenge calls its realm, it is a URL of a server, or none."""
        resolved = resolve_realm(realm, HUB)
        if resolved is not None:
            self.assertTrue(urlsplit(resolved).hostname)
            self.assertEqual(resolved, resolve_realm(resolved, HUB))
