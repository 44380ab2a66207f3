"""Routes of recent requests."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.errors import RegistryError
from oci_registry.spec.routes import Route, parse_route
from oci_registry.web.recent_routes import recent_route

SHA256, SHA512 = b"sha256:" + b"a" * 64, b"sha512:" + b"0" * 128
ENDS = (
    b"",
    b"_catalog",
    *(
        name + end
        for name in (b"a/", b"gcr.io/a/b/", b"localhost:5000/a/")
        for end in (
            b"manifests/1",
            b"manifests/" + SHA256,
            b"blobs/" + SHA512,
            b"tags/list",
            b"referrers/" + SHA256,
            b"_oci-registry/history/1",
            b"uploads/1",
            b"blobs/1",
        )
    ),
)
QUERIES = (b"", b"ns=docker.io", b"n=5&last=b", b"n=5&x=y", b"artifactType=a/b", b"n=x", b"ns=@")


def outcome(parse: object, path: bytes, query: bytes) -> object:
    """Return a route, or the type and the text of the error."""
    assert callable(parse)
    try:
        return parse(path, query)
    except RegistryError as error:
        return type(error), error.message


class RecentRoutes(SynchronousTestCase):
    """`recent_route`."""

    def test_all(self) -> None:
        """A route is the same as that of a parsed request, the first time and later, and so is an error."""
        types = set()
        for before in (b"/v2/", b"/docker.io/v2/"):
            for end in ENDS:
                for query in QUERIES:
                    expected = outcome(parse_route, before + end, query)
                    types.add(type(expected))
                    for _ in range(2):
                        found = outcome(recent_route, before + end, query)
                        self.assertEqual(expected, found)
                        self.assertIs(type(expected), type(found))
        self.assertEqual({tuple, *_flat(Route)}, types)

    @given(st.binary(max_size=20), st.binary(max_size=20))
    def test_anything(self, path: bytes, query: bytes) -> None:
        """Whatever a client sends."""
        path = b"/v2/a/manifests/" + path
        for _ in range(2):
            self.assertEqual(outcome(parse_route, path, query), outcome(recent_route, path, query))


def _flat(union: object) -> set[type]:
    """Return the types of a union."""
    parts = get_args(union)
    return {union} if isinstance(union, type) else {one for part in parts for one in _flat(part)}
