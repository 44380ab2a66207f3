"""What each answer says of the cache (RFC 9211)."""

from __future__ import annotations

import re

from twisted.internet.defer import fail, succeed

from oci_registry.spec.errors import BadGateway, Denied, ManifestUnknown
from oci_registry.storage.interfaces import StoreError
from oci_registry.web.cache_status import of_error
from tests.unit.web.handlers import HandlerTestCase
from tests.unit.web.support import Connection

DATA = bytes(range(256)) * 1200
RAW = b'{"schemaVersion": 2, "config": {}, "layers": []}'
OTHER = RAW + b"\n"
_MEMBER = re.compile(
    r"oci-registry; (?:hit|fwd=(?:miss|stale|partial))(?:; fwd-status=\d{3})?(?:; stored)?"
    r"(?:; collapsed)?(?:; ttl=-?\d+)?(?:; detail=[a-z-]+)?(?:; fwd-status=\d{3})?"
)


class CacheStatusTestCase(HandlerTestCase):
    """One image upstream, whose tag is fresh for an hour."""

    def setUp(self) -> None:
        super().setUp()
        self.manifest = self.upstream.add(RAW, "1")
        self.blob = f"blobs/{self.upstream.add_blob(DATA)}"
        self.digest = f"manifests/{self.manifest.digest}"

    def said(self, path: str, method: str = "GET", **headers: str) -> str | None:
        """Return what the answer says of the cache, without the name of the cache."""
        return self.read(self.get(path, method, **headers).headers.get("cache-status"))

    def read(self, value: str | None) -> str | None:
        if value is None:
            return None
        self.assertIsNotNone(_MEMBER.fullmatch(value), value)
        return value.removeprefix("oci-registry; ")


class Manifests(CacheStatusTestCase):
    """Tags and digests."""

    def test_by_digest(self) -> None:
        """A manifest by digest is stored by a miss, and hit for ever after."""
        self.assertEqual("fwd=miss; stored", self.said(self.digest, "HEAD"))
        for method in ("GET", "HEAD"):
            self.assertEqual("hit", self.said(self.digest, method))

    def test_by_tag(self) -> None:
        """A tag has the time for which it stays fresh."""
        self.assertEqual("fwd=miss; stored; ttl=3600", self.said("manifests/1"))
        self.clock.advance(599.5)
        self.assertEqual("hit; ttl=3000", self.said("manifests/1"))
        self.clock.advance(3000)
        self.assertEqual("hit; ttl=0", self.said("manifests/1", "HEAD"))

    def test_revalidated(self) -> None:
        """A tag that had to be confirmed was stale; a new manifest for it is stored."""
        self.get("manifests/1")
        self.clock.advance(3600)
        self.assertEqual("fwd=stale; ttl=3600", self.said("manifests/1"))
        self.upstream.add(OTHER, "1")
        self.clock.advance(3600)
        self.assertEqual("fwd=stale; stored; ttl=3600", self.said("manifests/1"))
        self.assertEqual("hit; ttl=3600", self.said("manifests/1"))

    def test_while_revalidating(self) -> None:
        """A tag that is confirmed in the background is a stale hit."""
        self.upstream.change(stale_while_revalidate=600.0)
        self.get("manifests/1")
        self.clock.advance(3630)
        expected = "hit; ttl=-30; detail=stale-while-revalidate"
        self.assertEqual(expected, self.said("manifests/1"))
        self.assertEqual("hit; ttl=3600", self.said("manifests/1"))

    def test_upstream_down(self) -> None:
        """A tag that cannot be confirmed is a stale hit, too."""
        self.get("manifests/1")
        self.clock.advance(3630)
        self.upstream.error = BadGateway("down")
        expected = "hit; ttl=-30; detail=stale-if-error"
        self.assertEqual(expected, self.said("manifests/1"))
        self.assertEqual(expected, self.said("manifests/1", "HEAD"))

    def test_not_modified(self) -> None:
        """A 304 says the same, and which status the registry has sent if that was another."""
        etag = f'"{self.manifest.digest}"'
        first = self.said("manifests/1", If_None_Match=etag)
        self.assertEqual("fwd=miss; stored; ttl=3600; fwd-status=200", first)
        self.assertEqual("hit; ttl=3600", self.said("manifests/1", If_None_Match=etag))
        self.clock.advance(3600)
        confirmed = self.said("manifests/1", If_None_Match=etag)
        self.assertEqual("fwd=stale; ttl=3600; fwd-status=200", confirmed)

    def test_joined(self) -> None:
        """Clients that wait for one request to the registry are collapsed, but for the first."""
        for seconds, first, second, outcomes in (
            (0, "fwd=miss; stored; ttl=3600", "fwd=miss; collapsed; ttl=3600", ["miss", "joined"]),
            (3600, "fwd=stale; ttl=3600", "fwd=stale; collapsed; ttl=3600", ["revalidated"] * 2),
        ):
            self.clock.advance(seconds)
            self.upstream.holding = True
            self.log.entries.clear()
            asked = [self.ask("/v2/library/app/manifests/1") for _ in range(2)]
            self.upstream.holding = False
            self.upstream.release()
            self.assertEqual([first, second], [self.last(client) for client in asked])
            self.assertEqual(outcomes, [entry.outcome for entry in self.log.entries])

    def last(self, client: Connection) -> str | None:
        return self.read(client.answer().headers.get("cache-status"))


class Blobs(CacheStatusTestCase):
    """Blobs, whole and in parts."""

    def test_hit(self) -> None:
        """A stored blob is a hit, whole, in parts and by its headers."""
        self.assertEqual("fwd=miss", self.said(self.blob, "HEAD"), "its body is not fetched")
        self.assertEqual("fwd=miss; stored", self.said(self.blob))
        for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=1-2"})):
            self.assertEqual("hit", self.said(self.blob, method, **headers), method)

    def test_range(self) -> None:
        """A part of a download says which status the registry has sent."""
        first = self.said(self.blob, Range="bytes=1-2")
        self.assertEqual("fwd=miss; stored; fwd-status=200", first)

    def test_no_such_range(self) -> None:
        """A range of which nothing exists is about a blob that the cache has."""
        self.get(self.blob)
        answer = self.get(self.blob, Range="bytes=9999999-")
        self.assertEqual(
            (416, "oci-registry; hit"), (answer.status, answer.headers["cache-status"])
        )

    def test_joined(self) -> None:
        """A client that joins a download is collapsed with it."""
        clients = [self.ask(f"/v2/library/app/{self.blob}") for _ in range(2)]
        self.finish()
        told = [self.read(client.answer().headers["cache-status"]) for client in clients]
        self.assertEqual(["fwd=miss; stored", "fwd=miss; collapsed"], told)

    def test_not_stored(self) -> None:
        """A download that cannot be stored does not claim to be."""
        self.patch(self.driver, "create", lambda *_: fail(StoreError("No space left on device")))
        self.assertEqual("fwd=miss", self.said(self.blob))

    def test_without_looking(self) -> None:
        """A client that has the blob already is not told of a cache that was not used."""
        digest = self.blob.removeprefix("blobs/")
        answer = self.get(self.blob, If_None_Match=f'"{digest}"')
        self.assertEqual((304, None), (answer.status, answer.headers.get("cache-status")))

    def test_redirect(self) -> None:
        """A redirect to the bucket is a hit."""
        self.serve_all(redirect=True)
        self.get(self.blob)
        self.patch(self.driver, "link", lambda *_: succeed("https://bucket/x"))
        self.assertEqual("hit", self.said(self.blob))


class Lists(CacheStatusTestCase):
    """Tags and referrers, which are asked for each time."""

    def test_tags(self) -> None:
        """A list is a miss; one from the store is a stale hit; an empty page asks nobody."""
        for method in ("GET", "HEAD"):
            self.assertEqual("fwd=miss", self.said("tags/list", method))
        self.assertIsNone(self.said("tags/list?n=0"))
        self.get("manifests/1")
        self.upstream.error = BadGateway("down")
        self.assertEqual("hit; detail=stale-if-error", self.said("tags/list"))

    def test_referrers(self) -> None:
        """A list is a miss; the last one that was kept is stale by its age."""
        path = f"referrers/{self.manifest.digest}"
        self.get("manifests/1")
        for method in ("GET", "HEAD"):
            self.assertEqual("fwd=miss", self.said(path, method))
        self.clock.advance(30)
        self.upstream.error = BadGateway("down")
        self.assertEqual("hit; ttl=-30; detail=stale-if-error", self.said(path))


class Errors(CacheStatusTestCase):
    """Errors that a registry has answered, and our own."""

    def test_answers(self) -> None:
        """What the registry does not have or denies is forwarded, or known from before."""
        self.assertEqual("fwd=miss", self.said("manifests/2"))
        self.assertEqual("fwd=miss", self.said(f"blobs/sha256:{'0' * 64}", "HEAD"))
        self.upstream.error = Denied("no")
        self.assertEqual("fwd=miss", self.said("manifests/3"))
        known = ManifestUnknown("no")
        known.from_cache = True
        self.upstream.error = known
        self.assertEqual("hit", self.said("manifests/4"))
        self.assertEqual(of_error(known.again()), {"Cache-Status": "oci-registry; hit"})

    def test_our_own(self) -> None:
        """An error of our own says nothing of the cache, nor does what is no request for content."""
        self.upstream.error = BadGateway("down")
        self.assertIsNone(self.said("manifests/1"))
        self.assertIsNone(self.said("manifests/-"))
        self.assertIsNone(self.said("manifests/1", "PUT"))
        for path in ("/v2/", "/v2/UPPER/tags/list", "/v2/nothing"):
            self.assertNotIn("cache-status", self.ask(path).answer().headers)
