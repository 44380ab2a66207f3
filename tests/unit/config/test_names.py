"""Names of registries in the configuration."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.names import (
    fold_alias,
    parse_namespace,
    parse_registry_host,
    parse_url,
    split_port,
)

from .support import SECRET


class Hosts(SynchronousTestCase):
    """parse_registry_host."""

    def test_accepted(self) -> None:
        """A host with or without a port comes back in lower case."""
        for text, host in {
            "quay.io": "quay.io",
            " Registry.Example.COM:5000 ": "registry.example.com:5000",
            "localhost": "localhost",
            "127.0.0.1:5000": "127.0.0.1:5000",
            "[::1]:5000": "[::1]:5000",
            "registry": "registry",
        }.items():
            self.assertEqual(parse_registry_host(text), host)

    def test_scheme(self) -> None:
        """For a URL the message says what to write instead."""
        error = self.assertRaises(ValueError, parse_registry_host, "https://quay.io/v2/")
        self.assertIn("write 'quay.io'", str(error))
        self.assertNotIn("tls", str(error))
        error = self.assertRaises(ValueError, parse_registry_host, "HTTP://quay.io:5000")
        self.assertIn("write 'quay.io:5000' and 'tls: false'", str(error))

    def test_credentials(self) -> None:
        """Credentials in a host are refused and not repeated."""
        for text in (f"alice:{SECRET}@quay.io", f"https://alice:{SECRET}@quay.io/"):
            error = self.assertRaises(ValueError, parse_registry_host, text)
            self.assertIn("credentials", str(error))
            self.assertNotIn(SECRET, str(error))

    def test_refused(self) -> None:
        """What is no host is refused."""
        for text in ("", " ", "a b", "quay.io/x", "quay.io:0", "quay.io:99999", "a..b", "a_b.io"):
            self.assertRaises(ValueError, parse_registry_host, text)

    @given(st.text(max_size=40))
    def test_anything(self, text: str) -> None:
        """Any text is a host in lower case or a ValueError."""
        try:
            host = parse_registry_host(text)
        except ValueError:
            return
        self.assertEqual(parse_registry_host(host), host)


class Ports(SynchronousTestCase):
    """split_port."""

    def test_split(self) -> None:
        """Names and addresses lose port and brackets."""
        for host, parts in {
            "quay.io": ("quay.io", None),
            "quay.io:443": ("quay.io", 443),
            "127.0.0.1:80": ("127.0.0.1", 80),
            "[::1]": ("::1", None),
            "[::1]:5000": ("::1", 5000),
        }.items():
            self.assertEqual(split_port(host), parts)


class Namespaces(SynchronousTestCase):
    """parse_namespace."""

    def test_aliases(self) -> None:
        """Every name of Docker Hub is docker.io."""
        for text in ("docker.io", "index.docker.io", "Registry-1.Docker.IO"):
            self.assertEqual(parse_namespace(text), "docker.io")
        self.assertEqual(fold_alias("quay.io"), "quay.io")

    def test_plain_words(self) -> None:
        """A single path component is a namespace too."""
        for text in ("mirror", "my_mirror", "localhost:5000", "[::1]:5000"):
            self.assertEqual(parse_namespace(text), text)

    def test_refused(self) -> None:
        """What can neither be a host nor a path component is refused."""
        for text in ("", "docker.io/library", "https://docker.io", "a b", "..", "a:b", "-x"):
            self.assertRaises(ValueError, parse_namespace, text)


class Urls(SynchronousTestCase):
    """parse_url."""

    def test_accepted(self) -> None:
        """Scheme, host and port come back in lower case, without the slash at the end."""
        for text, url in {
            "http://minio:9000": "http://minio:9000",
            " HTTPS://S3.Example.com/ ": "https://s3.example.com",
            "http://127.0.0.1:1": "http://127.0.0.1:1",
            "https://[::1]:9000": "https://[::1]:9000",
        }.items():
            self.assertEqual(parse_url(text), url)

    def test_bare_host(self) -> None:
        """A host without a scheme is reached by https."""
        self.assertEqual(parse_url("s3.example.com"), "https://s3.example.com")
        self.assertEqual(parse_url("minio:9000"), "https://minio:9000")

    def test_refused(self) -> None:
        """Everything but a scheme, a host and a port is refused."""
        for text, reason in {
            "": "is not HOST",
            "http://": "is not HOST",
            "ftp://minio": "must be http://HOST[:PORT] or https://HOST[:PORT]",
            "s3://bucket": "must be http",
            "http:///minio": "nothing behind it",
            "http://minio/bucket": "nothing behind it",
            "http://minio?x=y": "nothing behind it",
            "http://minio#x": "nothing behind it",
            "http://minio\\x": "nothing behind it",
            "http://a b": "is not HOST",
            "http://minio:99999": "is not HOST",
            "http://minio:": "is not HOST",
            "http://127.1": "is not HOST",
            "http://https://minio": "must be http",
        }.items():
            self.assertIn(reason, str(self.assertRaises(ValueError, parse_url, text)), text)

    def test_credentials_are_not_repeated(self) -> None:
        """A password written into the URL is in no message."""
        for text in (f"http://x:{SECRET}@minio", f"x:{SECRET}@minio", f"http://{SECRET}://x@y"):
            error = str(self.assertRaises(ValueError, parse_url, text))
            self.assertNotIn(SECRET, error)

    @given(st.text(max_size=30))
    def test_anything(self, text: str) -> None:
        """What comes out of anything is accepted as it is."""
        try:
            url = parse_url(text)
        except ValueError:
            return
        self.assertEqual(parse_url(url), url)
