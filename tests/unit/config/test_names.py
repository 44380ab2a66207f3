"""Names of registries in the configuration."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.names import (
    Location,
    fold_alias,
    parse_location,
    parse_namespace,
    parse_url,
)

from .support import SECRET


class Hosts(SynchronousTestCase):
    """parse_location."""

    def test_accepted(self) -> None:
        """A host with or without a port is returned in lower case."""
        for text, host in {
            "quay.io": "quay.io",
            " Registry.Example.COM:5000 ": "registry.example.com:5000",
            "localhost": "localhost",
            "127.0.0.1:5000": "127.0.0.1:5000",
            "[::1]:5000": "[::1]:5000",
            "registry": "registry",
            "docker_registry:5000": "docker_registry:5000",
            "quay.io/": "quay.io",
        }.items():
            self.assertEqual(parse_location(text), Location(host))

    def test_path(self) -> None:
        """Behind a slash there is what stands before each repository."""
        for text, location in {
            "Harbor.example.com/dockerhub": Location("harbor.example.com", "dockerhub"),
            "a.example:5000/b/c_d/e": Location("a.example:5000", "b/c_d/e"),
            "[::1]:5000/b/": Location("[::1]:5000", "b"),
        }.items():
            self.assertEqual(parse_location(text), location)

    def test_bad_path(self) -> None:
        """For a path that is none the message says what is wrong, or what to write instead."""
        for text, reason in {
            "a.example/v2/b": "without v2: write 'a.example/b'",
            "a.example/v2": "without v2: write 'a.example'",
            "a.example/b/v2/": "without v2: write 'a.example/b'",
            "https://a.example/v2/b/": "without a scheme: write 'a.example/b'",
            "https://a.example/b/c": "without a scheme: write 'a.example/b/c'",
            "a.example/B": "the path after the host: 'B' is not a repository name: it has upper",
            "a.example/b//c": "the path after the host: 'b//c' is not a repository name",
            "a.example/../b": "the path after the host: '../b' is not a repository name",
            "a.example/b?c": "the path after the host: 'b?c' is not a repository name",
        }.items():
            error = self.assertRaises(ValueError, parse_location, text)
            self.assertIn(reason, str(error))

    def test_absolute(self) -> None:
        """A dot at the end of a name is for the look-up alone."""
        for text, location in {
            "a.example.": Location("a.example", absolute=True),
            "a.example.:5000/b": Location("a.example:5000", "b", absolute=True),
        }.items():
            self.assertEqual(parse_location(text), location)

    def test_international(self) -> None:
        """For a name in other letters the message says how it is written in ASCII."""
        for text, written in {
            "b\u00fccher.example": "'xn--bcher-kva.example'",
            "B\u00dcCHER.example:5000/x": "'xn--bcher-kva.example:5000'",
        }.items():
            error = self.assertRaises(ValueError, parse_location, text)
            self.assertIn(f"is not ASCII: did you mean {written}", str(error))
        for text in ("\u00fc..example", "\u00fc" * 300, "\u00fc b", "\u2100.example", "\u3002"):
            error = self.assertRaises(ValueError, parse_location, text)
            self.assertIn("is not a registry host", str(error))

    def test_scheme(self) -> None:
        """For a URL the message says what to write instead."""
        error = self.assertRaises(ValueError, parse_location, "https://quay.io/v2/")
        self.assertIn("write 'quay.io'", str(error))
        self.assertNotIn("tls", str(error))
        error = self.assertRaises(ValueError, parse_location, "HTTP://quay.io:5000")
        self.assertIn("write 'quay.io:5000' and 'tls: false'", str(error))

    def test_credentials(self) -> None:
        """Credentials in a host are refused and not repeated."""
        for text in (f"alice:{SECRET}@quay.io", f"https://alice:{SECRET}@quay.io/"):
            error = self.assertRaises(ValueError, parse_location, text)
            self.assertIn("credentials", str(error))
            self.assertNotIn(SECRET, str(error))

    def test_refused(self) -> None:
        """What is no host is refused."""
        for text in (
            "",
            " ",
            "/",
            "/x",
            "a b",
            "quay.io:0",
            "quay.io:99999",
            "a..b",
            "_a.io",
            "127.1.",
        ):
            self.assertRaises(ValueError, parse_location, text)

    @given(st.text(max_size=40))
    def test_anything(self, text: str) -> None:
        """Any text is a location or a ValueError."""
        try:
            location = parse_location(text)
        except ValueError:
            return
        self.assertEqual(
            parse_location(f"{location.host}/{location.path}"), evolve(location, absolute=False)
        )


class Namespaces(SynchronousTestCase):
    """parse_namespace."""

    def test_aliases(self) -> None:
        """Every name of Docker Hub is docker.io."""
        for text in (
            "docker.io",
            "index.docker.io",
            "Registry-1.Docker.IO",
            "registry.hub.docker.com",
        ):
            for end in ("", ":443", ".", ".:443"):
                self.assertEqual(parse_namespace(text + end), "docker.io")
        self.assertEqual(fold_alias("quay.io"), "quay.io")

    def test_plain_words(self) -> None:
        """A single path component is a namespace too."""
        for text in ("mirror", "my_mirror", "localhost:5000", "[::1]:5000", "my_registry:5000"):
            self.assertEqual(parse_namespace(text), text)

    def test_canonical(self) -> None:
        """The port of https and a dot at the end make no other registry."""
        for text in ("quay.io:443", "Quay.io.", "quay.io.:443"):
            self.assertEqual(parse_namespace(text), "quay.io")
        self.assertEqual(parse_namespace("[::1]:443"), "[::1]")

    def test_refused(self) -> None:
        """What can neither be a host nor a path component is refused."""
        for text in ("", "docker.io/library", "https://docker.io", "a b", "..", "a:b", "-x"):
            self.assertRaises(ValueError, parse_namespace, text)


class Urls(SynchronousTestCase):
    """parse_url."""

    def test_accepted(self) -> None:
        """Scheme, host and port are returned in lower case, without the slash at the end."""
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
            "http:///minio": "nothing after it",
            "http://minio/bucket": "nothing after it",
            "http://minio?x=y": "nothing after it",
            "http://minio#x": "nothing after it",
            "http://minio\\x": "nothing after it",
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

    @given(
        st.text(max_size=30) | st.from_regex(r"\A(https?://)?[a-zA-Z0-9.-]{1,10}(:[0-9]{1,5})?/?\Z")
    )
    def test_anything(self, text: str) -> None:
        """What comes out of anything is accepted as it is."""
        try:
            url = parse_url(text)
        except ValueError:
            return
        self.assertEqual(parse_url(url), url)
