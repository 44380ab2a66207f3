"""``/v2/_catalog`` and ``/v2/<name>/_oci-registry/history/<tag>``."""

from __future__ import annotations

import json

from oci_registry.storage.keys import tag_key
from tests.unit.web.handlers import HandlerTestCase
from tests.unit.web.support import Answer

RAW = b'{"schemaVersion": 2, "config": {}, "layers": []}'
NAMES = ("docker.io/library/app", "docker.io/library/node-red", "docker.io/library/node")
OTHERS = ("hf.co/A/model", "quay.io/a/b")
SORTED = ["docker.io/library/app", "docker.io/library/node", "docker.io/library/node-red", *OTHERS]


class Catalog(HandlerTestCase):
    """The list of repositories."""

    def setUp(self) -> None:
        super().setUp()
        for name in (*NAMES, *OTHERS):
            host, _, repository = name.partition("/")
            for tag in ("1", "2"):
                self.driver.place(tag_key(host, repository, tag), b"{}", sealed=True)

    def list(self, target: str = "/v2/_catalog") -> tuple[list[str], str | None]:
        """Return the repositories at a target, and the target of the next page."""
        answer = self.ask(target).answer()
        self.assertEqual((200, "application/json"), (answer.status, answer.headers["content-type"]))
        link = answer.headers.get("link")
        following = None
        if link is not None:
            following, _, rel = link.partition("; ")
            self.assertEqual('rel="next"', rel)
            following = following.strip("<>")
        return json.loads(answer.body)["repositories"], following

    def test_all(self) -> None:
        """All are listed in order, as they are pulled here; no registry is asked."""
        self.assertEqual((SORTED, None), self.list())
        self.assertEqual([], self.upstream.asked)

    def test_pages(self) -> None:
        """Pages are as large as was asked for, and lead to the next one, to the end."""
        for target in ("/v2/_catalog?n=2", "/v2/_catalog?n=2&last=docker.io/"):
            found: list[str] = []
            following: str | None = target
            while following is not None:
                page, following = self.list(following)
                found += page
                self.assertLessEqual(len(page), 2)
            self.assertEqual(SORTED, found)
        self.assertEqual((SORTED, None), self.list("/v2/_catalog?n=5"))
        self.assertEqual(([], None), self.list("/v2/_catalog?n=0"))
        self.assertEqual(([], None), self.list("/v2/_catalog?last=zz"))

    def test_one_registry(self) -> None:
        """Those of one registry have the names that they have there."""
        names = ["library/app", "library/node", "library/node-red"]
        for target in ("/v2/_catalog?ns=docker.io", "/index.docker.io/v2/_catalog"):
            self.assertEqual((names, None), self.list(target))
        for target in ("/v2/_catalog?ns=docker.io&n=1", "/docker.io/v2/_catalog?n=1"):
            found, following = self.list(target)
            while following is not None:
                page, following = self.list(following)
                found += page
            self.assertEqual(names, found)

    def test_not_mirrored(self) -> None:
        """What cannot be pulled here is not listed."""
        self.serve_all(dynamic=False)
        self.assertEqual((SORTED[:3], None), self.list())
        self.assertEqual(404, self.ask("/v2/_catalog?ns=quay.io").answer().status)
        found, following = self.list("/v2/_catalog?n=3")
        self.assertEqual(SORTED[:3], found)
        assert following is not None
        self.assertEqual(([], None), self.list(following))

    def test_others_files(self) -> None:
        """What is no repository is passed over, however much of it there is."""
        for number in range(7):
            for name in (
                f"Not a host{number}/x",
                f"docker.io/lib/No tag{number}",
                f"docker.io/x y{number}",
            ):
                self.driver.place(f"repositories/{name}/_tags/1", b"{}", sealed=False)
        for n in (1, 2, 100):
            found, following = self.list(f"/v2/_catalog?n={n}")
            while following is not None:
                page, following = self.list(following)
                found += page
            self.assertEqual(SORTED, found)

    def test_head(self) -> None:
        """HEAD gives the same without the list, and the metrics have a label for it."""
        got, head = (self.ask("/v2/_catalog", method).answer(method) for method in ("GET", "HEAD"))
        self.assertEqual(
            (got.headers["content-length"], b""), (head.headers["content-length"], head.body)
        )
        labels = {"route": "catalog", "method": "HEAD", "status": "200"}
        self.assertEqual(1, self.counted("oci_registry_requests_total", **labels))

    def test_refused(self) -> None:
        """Malformed requests and a broken store are errors; the reason of the latter stays in the log."""
        self.assertEqual(400, self.ask("/v2/_catalog?n=x").answer().status)
        self.driver.broken = "/srv/secret is gone"
        answer = self.ask("/v2/_catalog").answer()
        self.assertEqual(503, answer.status)
        self.assertNotIn(b"secret", answer.body)


class History(HandlerTestCase):
    """The history of a tag."""

    def setUp(self) -> None:
        super().setUp()
        self.one = self.upstream.add(RAW, "1")
        self.get("manifests/1")
        self.upstream.asked.clear()

    def history(self, query: str = "", method: str = "GET", tag: str = "1") -> Answer:
        return self.get(f"_oci-registry/history/{tag}{query}", method)

    def test_known(self) -> None:
        """It says what the tag has been, under the name of the client, and asks no registry."""
        answer = self.history()
        self.assertEqual((200, "application/json"), (answer.status, answer.headers["content-type"]))
        self.assertEqual(
            {
                "name": "library/app",
                "tag": "1",
                "digest": str(self.one.digest),
                "hold": None,
                "waiting": None,
                "history": [
                    {
                        "digest": str(self.one.digest),
                        "first_seen": "2023-11-14T22:13:20Z",
                        "last_confirmed": "2023-11-14T22:13:20Z",
                        "adopted": True,
                    }
                ],
            },
            json.loads(answer.body),
        )
        self.assertEqual("docker.io", answer.headers["oci-namespace"])
        self.assertEqual([], self.upstream.asked)
        self.assertEqual(200, self.history("?ns=docker.io").status)
        self.assertEqual(b"", self.history(method="HEAD").body)

    def test_unknown(self) -> None:
        """A tag that was never pulled is unknown, in another registry too; no registry is asked."""
        for answer in (self.history(tag="2"), self.history("?ns=quay.io")):
            (error,) = json.loads(answer.body)["errors"]
            self.assertEqual((404, "MANIFEST_UNKNOWN"), (answer.status, error["code"]))
        self.assertEqual([], self.upstream.asked)

    def test_broken_store(self) -> None:
        """A store that cannot be read is an error."""
        self.restart()
        self.serve_all()
        self.driver.broken = "/srv/secret is gone"
        answer = self.history()
        self.assertEqual(503, answer.status)
        self.assertNotIn(b"secret", answer.body)

    def test_held(self) -> None:
        """A held tag says so, in its history and with each answer."""
        self.now(self.control.hold("docker.io", "library/app", "1"))
        hold = json.loads(self.history().body)["hold"]
        self.assertEqual(str(self.one.digest), hold["digest"])
        status = self.get("manifests/1").headers["cache-status"]
        self.assertEqual("oci-registry; hit; detail=hold", status)
