"""From queries to the fields of routes."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadRequest,
    DigestInvalid,
    NameInvalid,
    NameUnknown,
    PaginationInvalid,
)
from oci_registry.spec.reference import Tag
from oci_registry.spec.routes import (
    BaseRoute,
    ManifestRoute,
    Name,
    ReferrersRoute,
    TagsRoute,
)
from tests.unit.spec.routing import parse

DIGEST = Digest("sha256", "a" * 64)


class Queries(SynchronousTestCase):
    """What the query may say."""

    def test_ns(self) -> None:
        """The source host is read in lower case, with its port."""
        for query, ns in {
            "ns=docker.io": "docker.io",
            "ns=Docker.IO": "docker.io",
            "ns=localhost%3A5000": "localhost:5000",
            "ns=localhost:5000": "localhost:5000",
            "ns=%5B::1%5D:5000": "[::1]:5000",
            "x=y&ns=quay.io&z": "quay.io",
            "ns=quay.io:443": "quay.io:443",
            "ns=quay.io.": "quay.io.",
            "ns=docker_registry:5000": "docker_registry:5000",
            "ns=": None,
            "ns": None,
            "&&ns=quay.io&&": "quay.io",
        }.items():
            for path in (
                "/v2/a/manifests/x",
                f"/v2/a/blobs/{DIGEST}",
                "/v2/a/tags/list",
                f"/v2/a/referrers/{DIGEST}",
            ):
                route = parse(path, query)
                assert not isinstance(route, BaseRoute)
                self.assertEqual(route.ns, ns)

    def test_bad_ns(self) -> None:
        """A source host that is none is refused in every endpoint, and named."""
        for value in (
            "quay.io/x",
            "quay.io%2Fx",
            "../etc",
            "http://quay.io",
            "http%3A%2F%2Fquay.io",
            "joe:s3cret@quay.io",
            "quay.io+",
            "quay.io%20",
            "%20quay.io",
            "quay.io%00",
            "quay.io%0d%0aHost:%20x",
            "quay.io%",
            "%ff",
            "qu%C3%A4y.io",
            "quay.io..",
            ".",
            "_a.example",
            "127.1.",
            "quay.io:0",
            "quay.io:99999",
            "127.1",
            "quay.io;x=y",
            "a" * 300,
        ):
            for path in ("/v2/a/manifests/x", f"/v2/a/blobs/{DIGEST}", "/v2/a/tags/list"):
                error = self.assertRaises(NameInvalid, parse, path, f"ns={value}")
                self.assertIn("the field ns", error.message)
                self.assertNotIn("s3cret", error.message)

    def test_repeated_ns(self) -> None:
        """Two source hosts are one too many, equal or not, escaped or not."""
        for query in ("ns=a.b&ns=a.b", "ns=a.b&ns=c.d", "ns=a.b&n%73=a.b", "ns=&ns=", "ns&ns=a.b"):
            error = self.assertRaises(NameInvalid, parse, "/v2/a/manifests/x", query)
            self.assertIn("ns", error.message)

    def test_page_size(self) -> None:
        """A page size is a number, cut to what is the most."""
        for value, n in {
            "0": 0,
            "1": 1,
            "007": 7,
            "10000": 10_000,
            "10001": 10_000,
            "9" * 19: 10_000,
            "9" * 4000: 10_000,
            "0" * 4000: 0,
        }.items():
            route = parse("/v2/a/tags/list", f"n={value}")
            assert isinstance(route, TagsRoute)
            self.assertEqual(route.n, n)

    def test_bad_page_size(self) -> None:
        """Anything else is no page size."""
        for query in (
            "n=",
            "n",
            "n=-1",
            "n=%2B1",
            "n=+1",
            "n=1.0",
            "n=1e3",
            "n=0x10",
            "n=1_000",
            "n=ten",
            "n=1%0A",
            "n=%D9%A1",
            "n=%C2%B2",
            "n=1&n=1",
        ):
            self.assertRaises(PaginationInvalid, parse, "/v2/a/tags/list", query)

    def test_texts(self) -> None:
        """The start of a page and a type are printable ASCII of 255 characters at most."""
        for query, last in {
            "last=v1.0": "v1.0",
            "last=a%20b": "a b",
            "last=a+b": "a b",
            "last=%25": "%",
            "last=": None,
            "last": None,
            "last=" + "x" * 255: "x" * 255,
        }.items():
            route = parse("/v2/a/tags/list", query)
            assert isinstance(route, TagsRoute)
            self.assertEqual(route.last, last)
            referrers = parse(f"/v2/a/referrers/{DIGEST}", query.replace("last", "artifactType"))
            assert isinstance(referrers, ReferrersRoute)
            self.assertEqual(referrers.artifact_type, last)

    def test_bad_texts(self) -> None:
        """Control characters, non-ASCII, too many characters and repetitions are refused."""
        for query in (
            "last=%00",
            "last=%0d%0aX:%20y",
            "last=%7f",
            "last=%C3%A9",
            "last=%ff",
            "last=" + "x" * 2049,
            "last=a&last=a",
        ):
            self.assertRaises(PaginationInvalid, parse, "/v2/a/tags/list", query)
            referrers = query.replace("last", "artifactType")
            self.assertRaises(BadRequest, parse, f"/v2/a/referrers/{DIGEST}", referrers)

    def test_tokens(self) -> None:
        """Where a page begins may be a long token; an artifact type is not that long."""
        route = parse("/v2/a/tags/list", "last=" + "x" * 2048)
        assert isinstance(route, TagsRoute)
        self.assertEqual("x" * 2048, route.last)
        self.assertRaises(
            BadRequest, parse, f"/v2/a/referrers/{DIGEST}", "artifactType=" + "x" * 256
        )

    def test_fields_of_a_registry(self) -> None:
        """What a registry has put into its link to a page is kept to the letter, but for ``ns``."""
        for query, kept in {
            "": None,
            "n=5&last=a": None,
            "n=5&last=a&ns=quay.io": None,
            "&&=x&": None,
            "page=2": "page=2",
            "n=5&page=a%2Fb%3D%3D&last=": "n=5&page=a%2Fb%3D%3D&last=",
            "next_page=x+y&ns=quay.io&n=5": "next_page=x+y&n=5",
            "page=2&n%73=quay.io": "page=2",
            'p="<%zz>': "p=%22%3C%25zz%3E",
        }.items():
            route = parse("/v2/a/tags/list", query)
            assert isinstance(route, TagsRoute)
            self.assertEqual(kept, route.query, query)
        for query in ("x=" + "y" * 2047, "&".join(["x=y"] * 13)):
            self.assertRaises(PaginationInvalid, parse, "/v2/a/tags/list", query)
        self.assertRaises(PaginationInvalid, parse, "/v2/a/tags/list", "page=2&n=x")

    def test_unknown_fields(self) -> None:
        """Fields that mean nothing to an endpoint are passed over, malformed or not."""
        for query in ("x", "=", "=x", "x=%ff", "x=%zz", "x=1&x=2", "N=5", "NS=//", "n=x&last=%00"):
            self.assertEqual(
                parse("/v2/a/manifests/x", query), ManifestRoute(Name.parse("a"), Tag("x"), None)
            )

    def test_floods(self) -> None:
        """A query of too many fields, too many bytes or bytes outside ASCII is refused."""
        self.assertEqual(parse("/v2/a/manifests/x", "&" * 15), parse("/v2/a/manifests/x"))
        self.assertEqual(parse("/v2/a/manifests/x", "x=" + "y" * 4094), parse("/v2/a/manifests/x"))
        for query in (
            "&" * 16,
            "&".join(["x=y"] * 17),
            "x=" + "y" * 4095,
            "&" * 1_000_000,
            "x=\xff",
            "ns=\xc3\xa9",
        ):
            self.assertRaises(BadRequest, parse, "/v2/a/manifests/x", query)

    def test_the_path_comes_first(self) -> None:
        """A malformed path is told before a malformed query."""
        self.assertRaises(DigestInvalid, parse, "/v2/a/blobs/x", "ns=//")
        self.assertRaises(NameUnknown, parse, "/v2/a/b/c", "ns=//")

    @settings(deadline=None)
    @given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
    def test_any_last(self, last: str) -> None:
        """Any printable text is read as it was before it was escaped."""
        route = parse("/v2/a/tags/list", f"last={quote(last, safe='')}")
        assert isinstance(route, TagsRoute)
        self.assertEqual(route.last, last)
