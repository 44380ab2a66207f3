"""Lists of tags and of referrers."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.upstream.interfaces import Page, Referrers
from oci_registry.web.lists import ListLimits
from tests.unit.web.handlers import HandlerTestCase

RAW = b'{"schemaVersion": 2, "config": {}, "layers": []}'


class Tags(HandlerTestCase):
    """``tags/list``."""

    def test_all(self) -> None:
        """The tags are upstream's, under the name that the client used."""
        self.upstream.page = Page(("1", "2"), None)
        for name in ("library/app", "docker.io/app", "app", "docker.io/library/app"):
            answer = self.ask(f"/v2/{name}/tags/list").answer()
            self.assertEqual({"name": name, "tags": ["1", "2"]}, json.loads(answer.body))
            self.assertEqual("application/json", answer.headers["content-type"])
            self.assertEqual("docker.io", answer.headers["oci-namespace"])
            self.assertNotIn("link", answer.headers)
        self.assertEqual({"tags library/app None None"}, set(self.upstream.asked))

    def test_namespace_of_errors(self) -> None:
        """An error says which registry it is about."""
        self.upstream.error = BadGateway("down")
        for tail in ("tags/list", f"referrers/{Digest.of(b'x')}"):
            answer = self.ask(f"/v2/library/app/{tail}").answer()
            self.assertEqual((502, "docker.io"), (answer.status, answer.headers["oci-namespace"]))

    def test_warning(self) -> None:
        """What the registry, a mirror, says about its list is told to the client."""
        self.upstream.page = Page(("1",), None, warning="quay.io is unavailable")
        warning = self.get("tags/list").headers["warning"]
        self.assertEqual('299 - "quay.io is unavailable"', warning)
        self.upstream.found = Referrers((), warning="down")
        warning = self.get(f"referrers/{Digest.of(b'x')}").headers["warning"]
        self.assertEqual('299 - "down"', warning)

    def test_pages(self) -> None:
        """The link leads back here, under the client's name, and asks for the same."""
        self.upstream.page = Page(("b",), "b")
        for target in (
            "/v2/library/app/tags/list?n=1&last=a",
            "/v2/docker.io/library/app/tags/list?n=1&last=a",
            "/v2/library/app/tags/list?n=1&last=a&ns=docker.io",
            "/v2/index.docker.io/app/tags/list?n=1",
        ):
            link, _, rel = self.ask(target).answer().headers["link"].partition("; ")
            path, _, query = link.strip("<>").partition("?")
            self.assertEqual(('rel="next"', target.partition("?")[0]), (rel, path))
            expected = {"n": ["1"], "last": ["b"]}
            if "ns=" in target:
                expected["ns"] = ["docker.io"]
            self.assertEqual(expected, parse_qs(query))
        self.assertEqual("tags library/app 1 a", self.upstream.asked[0])

    def test_odd_last_tag(self) -> None:
        """Whatever upstream calls its last tag, the link is one line with one target."""
        self.upstream.page = Page(("x",), 'a>; rel="evil"\r\nEvil: yes&n=9 \xe9')
        answer = self.get("tags/list")
        self.assertNotIn("evil", answer.headers)
        link, _, rel = answer.headers["link"].partition("; ")
        self.assertEqual('rel="next"', rel)
        self.assertEqual(
            {"last": [self.upstream.page.last]}, parse_qs(link.strip("<>").partition("?")[2])
        )

    def test_opaque_pages(self) -> None:
        """A query of the registry's own goes out in our link as it is, and comes back as it is."""
        query = "next_page=a%2Fb%3D&n=1"
        self.upstream.page = Page(("b",), None, query)
        for ns in ("", "ns=docker.io"):
            link, _, rel = self.get(f"tags/list?{ns}").headers["link"].partition("; ")
            wanted = f"/v2/library/app/tags/list?{query}" + (f"&{ns}" if ns else "")
            self.assertEqual(('rel="next"', f"<{wanted}>"), (rel, link))
            self.upstream.asked.clear()
            self.assertEqual(200, self.ask(wanted).answer().status)
            self.assertEqual([f"tags library/app 1 None {query}"], self.upstream.asked)

    def test_large(self) -> None:
        """A long list is sent at the client's pace, and whole; so many of them at once are bounded."""
        tags = tuple(f"{number:050}" for number in range(40_000))
        self.upstream.page = Page(tags, None)
        answer = self.get("tags/list")
        self.assertEqual(list(tags), json.loads(answer.body)["tags"])
        self.assertEqual(str(len(answer.body)), answer.headers["content-length"])
        self.assertEqual(b"", self.get("tags/list", "HEAD").body)
        self.list_limits = ListLimits(unsent=1)
        self.serve_all()
        answer = self.get("tags/list")
        self.assertEqual((503, "10"), (answer.status, answer.headers["retry-after"]))

    def test_from_the_store(self) -> None:
        """With upstream down the list is what is stored, and says so."""
        for tag in ("b", "a"):
            self.upstream.add(RAW, tag)
            self.get(f"manifests/{tag}")
        self.upstream.error = BadGateway("down")
        answer = self.get("tags/list?n=1")
        self.assertEqual(["a"], json.loads(answer.body)["tags"])
        self.assertTrue(answer.headers["warning"].startswith('299 - "docker.io is unavailable'))
        self.assertIn("last=a", answer.headers["link"])
        answer = self.get("tags/list?n=1&last=a")
        self.assertEqual(["b"], json.loads(answer.body)["tags"])
        self.assertNotIn("link", answer.headers)

    def test_nothing_stored(self) -> None:
        """With upstream down and nothing stored, that is an error and not an empty list."""
        self.upstream.error = BadGateway("down")
        self.assertEqual(502, self.get("tags/list").status)

    def test_nothing_may_be_stale(self) -> None:
        """Where no tag may be served stale, the stored ones are not listed either."""
        self.upstream.add(RAW, "a")
        self.get("manifests/a")
        self.upstream.change(stale_if_error=0.0)
        self.upstream.error = BadGateway("down")
        answer = self.get("tags/list")
        self.assertEqual(502, answer.status)
        self.assertNotIn("warning", answer.headers)

    def test_none(self) -> None:
        """No tags are asked for, and none are asked upstream."""
        answer = self.get("tags/list?n=0")
        self.assertEqual([], json.loads(answer.body)["tags"])
        self.assertEqual([], self.upstream.asked)

    def test_head(self) -> None:
        """HEAD tells the length of the list."""
        self.upstream.page = Page(("1",), None)
        length = len(self.get("tags/list").body)
        answer = self.get("tags/list", "HEAD")
        self.assertEqual((str(length), b""), (answer.headers["content-length"], answer.body))


class ReferrersOf(HandlerTestCase):
    """``referrers/<digest>``."""

    def setUp(self) -> None:
        super().setUp()
        self.path = f"referrers/{Digest.of(b'subject')}"
        found = tuple({"artifactType": kind, "size": n} for n, kind in enumerate("aba"))
        self.upstream.found = Referrers(found)

    def listed(self, answer_body: bytes) -> list[int]:
        index = json.loads(answer_body)
        self.assertEqual((2, OCI_INDEX), (index["schemaVersion"], index["mediaType"]))
        return [manifest["size"] for manifest in index["manifests"]]

    def test_all(self) -> None:
        """The referrers are an image index."""
        answer = self.get(self.path)
        self.assertEqual([0, 1, 2], self.listed(answer.body))
        self.assertEqual(OCI_INDEX, answer.headers["content-type"])
        self.assertEqual("docker.io", answer.headers["oci-namespace"])
        self.assertNotIn("oci-filters-applied", answer.headers)

    def test_of_one_type(self) -> None:
        """Those of one type are asked for; the answer says that it is filtered."""
        answer = self.get(f"{self.path}?artifactType=a")
        self.assertEqual([0, 2], self.listed(answer.body))
        self.assertEqual("artifactType", answer.headers["oci-filters-applied"])
        self.assertEqual([], self.listed(self.get(f"{self.path}?artifactType=c").body))

    def test_kept(self) -> None:
        """With upstream down they are served from the store, with their age and a warning."""
        self.get(self.path)
        self.clock.advance(7260)
        self.upstream.error = BadGateway("down")
        answer = self.get(self.path)
        self.assertEqual([0, 1, 2], self.listed(answer.body))
        self.assertEqual("7260", answer.headers["age"])
        warning = '299 - "docker.io is unavailable; this list was received 2h 1m ago"'
        self.assertEqual(warning, answer.headers["warning"])
        answer = self.get(f"{self.path}?artifactType=b")
        self.assertEqual([1], self.listed(answer.body))
        self.assertEqual("artifactType", answer.headers["oci-filters-applied"])

    def test_upstream_down(self) -> None:
        """An upstream that is down is an error: an empty list would say that nothing is signed."""
        self.upstream.error = BadGateway("down")
        self.assertEqual(502, self.get(self.path).status)
