"""From paths and queries to routes."""

from __future__ import annotations

import time
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    DigestInvalid,
    NameInvalid,
    NameUnknown,
    PaginationInvalid,
    ReferenceInvalid,
    RegistryError,
)
from oci_registry.spec.reference import Tag, parse_repository
from oci_registry.spec.routes import (
    BaseRoute,
    BlobRoute,
    CatalogRoute,
    HistoryRoute,
    ManifestRoute,
    Name,
    ReferrersRoute,
    TagsRoute,
    parse_route,
)
from tests.unit.spec.routing import parse

HEX = "a" * 64
DIGEST = Digest("sha256", HEX)
COMPONENTS = st.from_regex(r"\A[a-z0-9]{1,5}([._-][a-z0-9]{1,3})?\Z") | st.sampled_from(
    ["manifests", "blobs", "tags", "list", "referrers", "v2", "docker.io", "localhost"]
)
REPOSITORIES = st.lists(COMPONENTS, min_size=1, max_size=5).map("/".join)
TAGS = st.from_regex(r"\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}\Z")


class Shapes(SynchronousTestCase):
    """One route for each endpoint."""

    def test_base(self) -> None:
        """The base is found with and without a slash, whatever its query."""
        for path in ("/v2/", "/v2", "/v%32/", "//v2/", "/v2//", "///v2", "/quay.io/v2/", "/hub/v2"):
            for query in ("", "ns=docker.io", "ns=//&ns=", "&" * 5000, "\xff"):
                self.assertEqual(parse(path, query), BaseRoute())

    def test_manifest(self) -> None:
        """A manifest is found by tag and by digest."""
        name = Name(None, "library/busybox", "library/busybox")
        self.assertEqual(
            parse("/v2/library/busybox/manifests/latest"), ManifestRoute(name, Tag("latest"), None)
        )
        self.assertEqual(
            parse(f"/v2/library/busybox/manifests/{DIGEST}"), ManifestRoute(name, DIGEST, None)
        )

    def test_blob(self) -> None:
        """A blob is found by digest, with either algorithm."""
        for digest in (DIGEST, Digest("sha512", "b" * 128)):
            self.assertEqual(
                parse(f"/v2/a/blobs/{digest}"), BlobRoute(Name.parse("a"), digest, None)
            )

    def test_tags(self) -> None:
        """A list of tags has a page size and a start, or none."""
        name = Name.parse("a/b")
        self.assertEqual(parse("/v2/a/b/tags/list"), TagsRoute(name, None, None, None))
        self.assertEqual(
            parse("/v2/a/b/tags/list", "n=5&last=v1&ns=quay.io"),
            TagsRoute(name, 5, "v1", "quay.io"),
        )

    def test_referrers(self) -> None:
        """Referrers are found by digest, perhaps of one type."""
        name = Name.parse("a")
        self.assertEqual(
            parse(f"/v2/a/referrers/{DIGEST}"), ReferrersRoute(name, DIGEST, None, None)
        )
        self.assertEqual(
            parse(f"/v2/a/referrers/{DIGEST}", "artifactType=a%2Fb%2Bc&ns=quay.io"),
            ReferrersRoute(name, DIGEST, "a/b+c", "quay.io"),
        )

    def test_history(self) -> None:
        """The history of a tag is below a segment of our own."""
        self.assertEqual(
            parse("/v2/a/b/_oci-registry/history/v1", "ns=quay.io"),
            HistoryRoute(Name.parse("a/b"), Tag("v1"), "quay.io"),
        )
        self.assertRaises(ReferenceInvalid, parse, f"/v2/a/_oci-registry/history/{DIGEST}")

    def test_catalog(self) -> None:
        """The list of repositories is of all registries, or of one."""
        for path, query, n, last, host in (
            ("/v2/_catalog", "", None, None, None),
            ("/v2/_catalog", "n=5&last=docker.io/a", 5, "docker.io/a", None),
            ("/v2/_catalog", "ns=quay.io&n=99999", 10_000, None, "quay.io"),
            ("/quay.io/v2/_catalog", "", None, None, "quay.io"),
        ):
            route = parse(path, query)
            assert isinstance(route, CatalogRoute)
            self.assertEqual((n, last, host), (route.n, route.last, route.host))
            self.assertEqual(path, route.path)
        self.assertRaises(PaginationInvalid, parse, "/v2/_catalog", "n=x")

    def test_escapes_are_decoded_once(self) -> None:
        """An escape is decoded after the path is split, and what it yields is not again."""
        self.assertEqual(
            parse(f"/v2/a/blobs/sha256%3A{HEX}"), BlobRoute(Name.parse("a"), DIGEST, None)
        )
        self.assertEqual(parse("/v2/%61/%6danifests/%6c"), parse("/v2/a/manifests/l"))
        self.assertRaises(NameInvalid, parse, "/v2/%2561/manifests/latest")

    def test_last_marker_wins(self) -> None:
        """The components of a name may be called like endpoints."""
        for path, text in {
            "a/manifests/b/manifests/latest": "a/manifests/b",
            "manifests/manifests/latest": "manifests",
            "tags/list/manifests/latest": "tags/list",
            "a/tags/manifests/list": "a/tags",
            f"a/blobs/{HEX}/manifests/latest": f"a/blobs/{HEX}",
            "v2/manifests/latest": "v2",
        }.items():
            route = parse(f"/v2/{path}")
            assert isinstance(route, ManifestRoute)
            self.assertEqual(route.name.rest, text)
        for path, text in {
            "a/manifests/tags/list": "a/manifests",
            "tags/list/tags/list": "tags/list",
            "blobs/tags/list": "blobs",
        }.items():
            route = parse(f"/v2/{path}")
            assert isinstance(route, TagsRoute)
            self.assertEqual(route.name.rest, text)

    def test_unknown(self) -> None:
        """A path of no known shape does not exist."""
        for path in (
            "",
            "*",
            "v2/a/manifests/latest",
            "http://registry.example/v2/",
            "/",
            "//",
            "/a/b/v2/a/manifests/latest",
            "/-/v2/a/manifests/latest",
            "/quay.io/v3/a/manifests/latest",
            "/v1",
            "/V2",
            "/v2x",
            "/v3/a/manifests/latest",
            "/index.html",
            "/v2/a",
            "/v2/a/_catalog",
            "/v2/_oci-registry/history/1",
            "/v2/a/_oci-registry/history",
            "/v2/a/_oci-registry/other/1",
            "/v2/a/manifests",
            "/v2/manifests/latest",
            "/v2/tags/list",
            "/v2/a/tags/other",
            "/v2/a/list",
            "/v2/a/b/c",
            "/v2/a/manifest/latest",
            "/v2/a/Manifests/latest",
            "/v2/a/manifests/latest/more",
        ):
            self.assertRaises(NameUnknown, parse, path)

    @settings(deadline=None)
    @given(REPOSITORIES, TAGS)
    def test_any_name_and_tag(self, text: str, tag: str) -> None:
        """Any name and any tag are found again, escaped or not."""
        for path in (
            f"/v2/{text}/manifests/{tag}",
            f"/v2/{quote(text)}/manifests/%{ord(tag[0]):02x}{tag[1:]}",
        ):
            route = parse(path)
            assert isinstance(route, ManifestRoute)
            self.assertEqual(route.name.text, text)
            self.assertEqual(route.reference, Tag(tag))
            rest = route.name.rest
            self.assertEqual(f"{route.name.host}/{rest}" if route.name.host else rest, text)


class BadPaths(SynchronousTestCase):
    """Paths that are refused before anything is looked for."""

    def test_names(self) -> None:
        """A name outside the grammar is refused, in every endpoint."""
        for text in (
            "a..b",
            "A..b",
            "gcr.io/_A",
            ".a",
            "a.",
            "-a",
            "_a",
            "a___b",
            "a b",
            "a%20b",
            "a+b",
            "a:b",
            "a/b:c",
            "localhost:5000",
            "localhost:5000/b:c",
            "a@b",
            "~a",
            "a\\b",
            "a%5Cb",
            "a%3Fb",
            "a%23b",
            "a;b",
            "*",
        ):
            for end in ("manifests/latest", f"blobs/{DIGEST}", "tags/list", f"referrers/{DIGEST}"):
                self.assertRaises(NameInvalid, parse, f"/v2/{text}/{end}")

    def test_dots(self) -> None:
        """No path goes up, whether the dots are plain, escaped or escaped twice."""
        for dots in (
            "..",
            ".",
            "%2e%2e",
            "%2E%2E",
            ".%2e",
            "%2e",
            "%252e%252e",
            "..%2f..",
            "..%5c",
        ):
            for path in (
                f"/v2/{dots}/manifests/latest",
                f"/v2/a/{dots}/manifests/latest",
                f"/v2/{dots}/a/manifests/latest",
                f"/v2/gcr.io/{dots}/manifests/latest",
                f"/v2/{dots}/{dots}/{dots}/etc/manifests/latest",
                f"/{dots}/v2/a/b/manifests/latest",
            ):
                error = self.assertRaises((NameInvalid, NameUnknown), parse, path)
                if not path.startswith(f"/{dots}"):
                    self.assertIsInstance(error, NameInvalid)

    def test_dots_as_references(self) -> None:
        """Dots are neither a tag nor a digest."""
        for dots in ("..", ".", "%2e%2e", "..%2f..%2fetc", "%252e%252e"):
            for marker in ("manifests", "blobs", "referrers"):
                self.assertRaises(RegistryError, parse, f"/v2/a/{marker}/{dots}")

    def test_characters(self) -> None:
        """Encoded slashes, NUL, control characters and non-ASCII are refused in any segment."""
        for bad in (
            "%2F",
            "%2f",
            "%00",
            "\x00",
            "%0a",
            "\n",
            "%0D%0A",
            "%09",
            "%1b",
            "%7f",
            "\x7f",
            "%C3%A9",
            "\xc3\xa9",
            "%ff",
            "%c0%ae",
            "%e2%80%ae",
        ):
            for path in (f"/v2/a{bad}/manifests/x", f"/v2/a/manifests/x{bad}", f"/v2/a/m{bad}/x"):
                self.assertRaises(NameInvalid, parse, path)

    def test_escapes(self) -> None:
        """A malformed percent escape is refused."""
        for bad in ("%", "%2", "%zz", "%2g", "%%", "%u002e", "% 2e", "%-1"):
            self.assertRaises(NameInvalid, parse, f"/v2/a{bad}/manifests/x")
            self.assertRaises(NameInvalid, parse, f"/v2/a/manifests/x{bad}")

    def test_empty_segments(self) -> None:
        """A slash at the end is refused."""
        for path in (
            "/v2/a/manifests/x//",
            "/v2/a/manifests/x/",
            "/v2/a/manifests/",
            "/v2/a/tags/list/",
            f"/v2/a/blobs/{DIGEST}/",
            "/v2/a/blobs/uploads/",
        ):
            self.assertRaises(NameInvalid, parse, path)

    def test_slashes(self) -> None:
        """Several slashes together are one, in any place; encoded ones are none."""
        for path in (
            "//v2/a/b/manifests/x",
            "/v2//a/b/manifests/x",
            "/v2/a//b/manifests/x",
            "/v2/a/b///manifests/x",
            "////v2////a////b////manifests////x",
        ):
            self.assertEqual(parse(path), parse("/v2/a/b/manifests/x"))
        for path in ("/v2/%2Fa/manifests/x", "/v2/a%2F%2Fb/manifests/x", "//v2/a/../manifests/x"):
            self.assertRaises(NameInvalid, parse, path)

    def test_references(self) -> None:
        """A tag or a digest outside the grammar is refused as such."""
        for tag in (".a", "-a", "a+b", "a@b", "t" * 129):
            self.assertRaises(ReferenceInvalid, parse, f"/v2/a/manifests/{tag}")
        for digest in (
            "sha256:",
            "sha256:abc",
            f"sha256:{HEX}a",
            f"sha256:{HEX[1:]}",
            f"sha256:{HEX.upper()}",
            f"md5:{'a' * 32}",
            f"SHA256:{HEX}",
            f"sha512:{HEX}",
        ):
            for marker in ("manifests", "blobs", "referrers"):
                self.assertRaises(DigestInvalid, parse, f"/v2/a/{marker}/{digest}")
        for text in ("latest", "uploads", HEX):
            self.assertRaises(DigestInvalid, parse, f"/v2/a/blobs/{text}")

    def test_long_paths(self) -> None:
        """A path of thousands of characters is refused at once."""
        self.assertRaises(NameUnknown, parse, "/v2/" + "a" * 4092)
        self.assertRaises(NameInvalid, parse, "/v2/" + "a" * 4093)
        began = time.process_time()
        for piece in ("a", "a/", "a-", "%61", "/", "../", "%2e%2e/", "a:", "[", "1.", "-", "_"):
            for length in (4060, 5000, 1_000_000):
                text = (piece * length)[:length]
                self.assertRaises(RegistryError, parse, f"/v2/{text}/manifests/latest")
        self.assertLess(time.process_time() - began, 1)
        error = self.assertRaises(NameInvalid, parse, "/v2/" + "a" * 5000 + "/manifests/latest")
        self.assertIn("4096", error.message)

    @settings(deadline=None)
    @given(
        st.binary(max_size=60)
        | st.lists(
            st.sampled_from(
                b"/ v2 a .. . manifests blobs tags list %2e %2f %00 A docker.io : [::1] @ latest".split()
            ),
            max_size=14,
        ).map(b"".join),
        st.binary(max_size=60)
        | st.lists(st.sampled_from([b"ns", b"n", b"=", b"&", b"%", b"a.b", b"last", b"1"])).map(
            b"".join
        ),
    )
    def test_any_bytes(self, path: bytes, query: bytes) -> None:
        """Any path and any query are a route, or an error of the distribution API."""
        for whole in (path, b"/v2/" + path, b"/v2/" + path + b"/manifests/latest"):
            try:
                route = parse_route(whole, query)
            except RegistryError as error:
                self.assertIn(error.status, (400, 404))
                self.assertLess(len(error.message), 1000)
                continue
            if not isinstance(route, BaseRoute):
                rest = parse_repository(route.name.rest, upper_case=True)
                self.assertEqual(rest, route.name.rest)
                self.assertEqual(
                    parse_route(route.name.path.encode() + b"/tags/list", b"").name, route.name
                )
                self.assertNotIn("..", route.name.text.split("/"))
