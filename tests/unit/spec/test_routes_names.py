"""Names in paths: repositories, with and without a registry before them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.errors import NameInvalid
from oci_registry.spec.routes import ManifestRoute, Name
from tests.unit.spec.routing import parse


def name_in(text: str) -> Name:
    """The name in a manifest's path."""
    route = parse(f"/v2/{text}/manifests/latest")
    assert isinstance(route, ManifestRoute)
    return route.name


class Names(SynchronousTestCase):
    """Names with and without a host."""

    def test_with_host(self) -> None:
        """A first component that has the form of a host is one, if more follows."""
        for text, (host, rest) in {
            "docker.io/library/busybox": ("docker.io", "library/busybox"),
            "docker.io/busybox": ("docker.io", "busybox"),
            "k8s.gcr.io/pause": ("k8s.gcr.io", "pause"),
            "localhost/x": ("localhost", "x"),
            "localhost:5000/x": ("localhost:5000", "x"),
            "mirror:5000/a/b": ("mirror:5000", "a/b"),
            "127.0.0.1/x": ("127.0.0.1", "x"),
            "[::1]:5000/x": ("[::1]:5000", "x"),
            "[::1]/x": ("[::1]", "x"),
            "GCR.IO/a": ("gcr.io", "a"),
            "gcr.io/quay.io/a": ("gcr.io", "quay.io/a"),
        }.items():
            name = name_in(text)
            self.assertEqual(name, Name(host, rest, text))
            self.assertEqual(str(name), text)

    def test_odd_hosts(self) -> None:
        """A host may have a dot at its end, and underscores if it has a port."""
        for text, host in {
            "quay.io./a": "quay.io.",
            "quay.io.:443/a": "quay.io.:443",
            "docker_registry:5000/a": "docker_registry:5000",
        }.items():
            self.assertEqual(name_in(text), Name(host, "a", text))
        self.assertRaises(NameInvalid, name_in, "mirror./a")

    def test_before(self) -> None:
        """What stands before /v2 is kept, in lower case, for those who know which registry it means."""
        for before, kept in {
            "quay.io": "quay.io",
            "Quay.IO:443": "quay.io:443",
            "mirror": "mirror",
            "my_mirror": "my_mirror",
        }.items():
            for path in (f"/{before}/v2/a/b/manifests/x", f"//{before}//v2/a/b/manifests/x"):
                route = parse(path)
                assert isinstance(route, ManifestRoute)
                self.assertEqual(route.name, Name(None, "a/b", "a/b", kept))
                self.assertEqual(route.name.path, f"/{kept}/v2/a/b")
        self.assertEqual(name_in("a/b").path, "/v2/a/b")
        self.assertEqual(name_in("v2/a").path, "/v2/v2/a")

    def test_upper_case(self) -> None:
        """A repository may have upper-case letters: not every registry refuses them."""
        for text, rest in {"A": "A", "library/BusyBox": "library/BusyBox", "gcr.io/A": "A"}.items():
            self.assertEqual(name_in(text).rest, rest)

    def test_without_host(self) -> None:
        """Any other name is a repository as a whole."""
        for text in ("busybox", "library/busybox", "mirror/a", "docker.io", "a_b.c/d", "1.2/x"):
            self.assertEqual(name_in(text), Name(None, text, text))

    def test_escaped_port(self) -> None:
        """The colon of a port may be escaped."""
        self.assertEqual(name_in("localhost%3A5000/x"), name_in("localhost:5000/x"))

    def test_first(self) -> None:
        """The first component is at hand for those who know namespaces without a dot."""
        for text, (first, after) in {
            "mirror/a/b": ("mirror", "a/b"),
            "gcr.io/a": ("gcr.io", "a"),
            "a": (None, ""),
            "localhost:5000/a": (None, "a"),
            "GCR.IO/a": (None, "a"),
        }.items():
            name = name_in(text)
            self.assertEqual((name.first, name.after_first), (first, after))

    def test_lengths(self) -> None:
        """A repository has 255 characters at most, and the host is not counted."""
        self.assertEqual(name_in("a" * 255).rest, "a" * 255)
        self.assertEqual(name_in("gcr.io/" + "a" * 255).rest, "a" * 255)
        self.assertRaises(NameInvalid, name_in, "a" * 256)
        self.assertRaises(NameInvalid, name_in, "gcr.io/" + "a" * 256)

    def test_reason_of_a_bad_host(self) -> None:
        """What can only be meant as a host is refused as one."""
        for text, reason in {
            "quay.io:99999/a": "the port",
            "[::1/a": "bracket",
            "joe:s3cret@quay.io/a": "credentials",
        }.items():
            error = self.assertRaises(NameInvalid, name_in, text)
            self.assertIn(reason, error.message)
            self.assertNotIn("s3cret", error.message)
