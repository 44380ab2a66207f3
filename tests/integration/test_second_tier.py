"""A mirror behind a mirror: two daemons in a chain, and other hosts that have many registries."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from oci_registry.config.settings import (
    CATCH_ALL,
    FilesystemSettings,
    HostSettings,
    UpstreamSettings,
)
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_replies import Asked, Reply
from tests.support.fake_tokens import FakeTokens

REGISTRIES = ("docker.io", "quay.test", "port.test:5000")
LIST = "application/vnd.oci.image.index.v1+json"


class ChainTestCase(MirrorTestCase):
    """A first tier whose registries are all at one second tier, which has them at their own hosts.

    Every registry has an image of its own under the same name.
    """

    def setUp(self) -> None:
        super().setUp()
        self.registries_by_name = {name: self.another() for name in REGISTRIES}
        self.images: dict[str, tuple[Any, list[Any]]] = {}
        for name, registry in self.registries_by_name.items():
            self.images[name] = registry.add_image("team/app", "v1", b"layer of " + name.encode())

    async def start_second(self, **settings: Any) -> str:
        """Start the second tier; return its host."""
        await self.start(
            *(self.upstream(name, host=r.host) for name, r in self.registries_by_name.items()),
            storage=FilesystemSettings(self.mktemp()),
            **settings,
        )
        return f"127.0.0.1:{self.client._port}"

    async def start_first(self, *upstreams: UpstreamSettings) -> None:
        """Start the first tier, the one whose client is `client`."""
        await self.start(*upstreams, storage=FilesystemSettings(self.mktemp()))

    async def check(self, name: str, path: str, query: str) -> None:
        """Pull an image as a whole; everything in it is that registry's."""
        client = self.client
        manifest, blobs = self.images[name]
        got = await client.get(f"{path}/manifests/v1{query}")
        self.assertEqual((200, str(manifest)), (got.status, got.headers["docker-content-digest"]))
        got = await client.get(f"{path}/manifests/v1{query}", method="HEAD")
        self.assertEqual((200, str(manifest)), (got.status, got.headers["docker-content-digest"]))
        for blob in blobs:
            got = await client.get(f"{path}/blobs/{blob}{query}")
            self.assertEqual((200, True), (got.status, got.complete))
        self.assertIn(name.encode(), bytes(got.body))
        got = await client.get(f"{path}/tags/list{query}")
        self.assertEqual(200, got.status)
        self.assertIn(b'"v1"', got.body)
        got = await client.get(f"{path}/referrers/{manifest}{query}")
        self.assertEqual((200, LIST), (got.status, got.headers["content-type"]))


class Chain(ChainTestCase):
    """A first tier with an entry for each registry."""

    @running
    async def test_by_ns(self) -> None:
        """Clients that name the registry with ns get its image, and no other's, through both."""
        second = await self.start_second()
        await self.start_first(*(self.upstream(name, host=second) for name in REGISTRIES))
        for name in REGISTRIES:
            await self.check(name, "/v2/team/app", f"?ns={name}")

    @running
    async def test_down(self) -> None:
        """What the second tier lists from its store is told by the first one, too."""
        second = await self.start_second()
        await self.start_first(*(self.upstream(name, host=second) for name in REGISTRIES))
        await self.check("quay.test", "/v2/team/app", "?ns=quay.test")
        await self.registries_by_name["quay.test"].stop()
        got = await self.client.get("/v2/team/app/tags/list?ns=quay.test")
        self.assertEqual(200, got.status)
        self.assertRegex(got.headers["warning"], "^299 - .quay.test is unavailable")

    @running
    async def test_by_path(self) -> None:
        """Clients that name the registry in the path, with ns too, or before /v2 get its image."""
        for number, (path, query) in enumerate(
            (("/v2/{}/team/app", ""), ("/v2/{}/team/app", "?ns={}"), ("/{}/v2/team/app", "?ns={}"))
        ):
            if number:
                await self.afresh()
            second = await self.start_second()
            await self.start_first(*(self.upstream(name, host=second) for name in REGISTRIES))
            for name in REGISTRIES:
                await self.check(name, path.format(name), query.format(name))

    @running
    async def test_path_in_the_file(self) -> None:
        """The second tier may be told in the path as well, which changes nothing."""
        second = await self.start_second()
        hosts = {name: (HostSettings(second, tls=False, path=name),) for name in REGISTRIES[:2]}
        await self.start_first(*(UpstreamSettings(name, hosts[name]) for name in hosts))
        for name in hosts:
            await self.check(name, "/v2/team/app", f"?ns={name}")

    @running
    async def test_path_under_another_name(self) -> None:
        """A path that names a registry is what counts there, whatever its namespace is here."""
        second = await self.start_second(allow_dynamic_upstreams=False)
        hosts = (HostSettings(second, tls=False, path="quay.test"),)
        await self.start_first(UpstreamSettings("quay.corp.test", hosts))
        await self.check("quay.test", "/v2/team/app", "?ns=quay.corp.test")

    @running
    async def test_unknown(self) -> None:
        """What the second tier does not mirror is not found: never is it another registry's image."""
        second = await self.start_second(allow_dynamic_upstreams=False)
        await self.start_first(self.upstream("unknown.test", host=second))
        for path in ("/v2/team/app", "/v2/unknown.test/team/app"):
            for end in ("manifests/v1", f"blobs/{self.images['docker.io'][1][0]}", "tags/list"):
                got = await self.client.get(f"{path}/{end}?ns=unknown.test")
                self.assertEqual(404, got.status, f"{path}/{end}")
        self.assertEqual(
            [], [r for name in REGISTRIES for r in self.registries_by_name[name].asked]
        )

    @running
    async def test_own_name(self) -> None:
        """A namespace that is no host is not passed on: it is the second tier's default registry."""
        second = await self.start_second()
        await self.start_first(self.upstream("mirror", host=second))
        await self.check("docker.io", "/v2/mirror/team/app", "")


class Unlisted(ChainTestCase):
    """A first tier that has one entry, for every registry, and no list of them."""

    async def start_both(self, **settings: Any) -> None:
        """Start the second tier, and the first at it."""
        second = await self.start_second(**settings)
        await self.start_first(self.upstream(CATCH_ALL, host=second))

    @running
    async def test_by_ns(self) -> None:
        """Clients that name the registry with ns get its image, and no other's, through both."""
        await self.start_both()
        for name in REGISTRIES:
            await self.check(name, "/v2/team/app", f"?ns={name}")
        await self.check("docker.io", "/v2/team/app", "")

    @running
    async def test_by_path(self) -> None:
        """Clients that name the registry in the path, with ns too, or before /v2 get its image."""
        for number, (path, query) in enumerate(
            (("/v2/{}/team/app", ""), ("/v2/{}/team/app", "?ns={}"), ("/{}/v2/team/app", "?ns={}"))
        ):
            if number:
                await self.afresh()
            await self.start_both()
            for name in REGISTRIES:
                await self.check(name, path.format(name), query.format(name))

    @running
    async def test_unknown(self) -> None:
        """What the second tier does not mirror is not found: never is it another registry's image."""
        await self.start_both(allow_dynamic_upstreams=False)
        for name in ("unknown.test", "unknown", "10.0.0.1:5000"):
            for end in ("manifests/v1", f"blobs/{self.images['docker.io'][1][0]}", "tags/list"):
                got = await self.client.get(f"/v2/team/app/{end}?ns={name}")
                self.assertEqual(404, got.status, f"{name}: {end}")
        self.assertEqual(
            [], [r for name in REGISTRIES for r in self.registries_by_name[name].asked]
        )

    @running
    async def test_listed(self) -> None:
        """A registry with an entry of its own is asked as that says."""
        second = await self.start_second()
        own = self.another()
        self.images["quay.test"] = own.add_image("team/app", "v1", b"another quay.test")
        await self.start_first(
            self.upstream(CATCH_ALL, host=second), self.upstream("quay.test", host=own.host)
        )
        for name in REGISTRIES:
            await self.check(name, "/v2/team/app", f"?ns={name}")

    @running
    async def test_configured_only(self) -> None:
        """With it every registry is known, also to a first tier that has configured ones only."""
        second = await self.start_second()
        self.root = Path(self.mktemp())
        await self.start(self.upstream(CATCH_ALL, host=second), allow_dynamic_upstreams=False)
        await self.check("quay.test", "/v2/team/app", "?ns=quay.test")

    @running
    async def test_ns_ignored(self) -> None:
        """A pull from a host that refuses ns, or shows that it ignores it, is answered with 502."""
        self.registry.add_image("team/app", "v1")
        path = "/v2/team/app/manifests/v1?ns=quay.test"

        def refusing(asked: Asked) -> Reply | None:
            return Reply(400) if asked.query else None

        def ignoring(asked: Asked) -> Reply | None:
            reply = self.registry.honest(asked)
            reply.headers["OCI-Namespace"] = "docker.io"
            return reply

        for guard in (refusing, ignoring):
            self.registry.guard = guard
            await self.start_first(self.upstream(CATCH_ALL))
            self.assertEqual(502, (await self.client.get(path)).status)
            self.assertEqual({"ns=quay.test"}, {asked.query for asked in self.registry.asked})


class Telling(MirrorTestCase):
    """What hosts are sent, and what is done if they do not like it."""

    def setUp(self) -> None:
        super().setUp()
        self.manifest, self.blobs = self.registry.add_image("team/app", "v1", b"layer")

    async def pull(self, tag: str = "v1", namespace: str = "quay.test") -> Response:
        got: Response = await self.client.get(f"/v2/team/app/manifests/{tag}?ns={namespace}")
        return got

    def queries(self, registry: FakeRegistry | None = None) -> list[str]:
        """Return the queries with which things were asked for, in order."""
        return [asked.query for asked in (registry or self.registry).asked]

    @running
    async def test_sent(self) -> None:
        """A host under another name is told the registry with every request, lists included."""
        for tag in ("v2", "v3"):
            self.registry.add_image("team/app", tag)
        await self.start(self.upstream("quay.test"))
        self.assertEqual(200, (await self.pull()).status)
        await self.client.get(f"/v2/team/app/blobs/{self.blobs[-1]}?ns=quay.test")
        await self.client.get("/v2/team/app/tags/list?n=2&ns=quay.test")
        self.assertEqual(["ns=quay.test"] * 2 + ["n=2&ns=quay.test"], self.queries())

    @running
    async def test_not_sent(self) -> None:
        """A registry is not told its own name."""
        await self.start(self.upstream(self.registry.host))
        self.assertEqual(200, (await self.pull(namespace=self.registry.host)).status)
        self.assertEqual([""], self.queries())

    @running
    async def test_refused(self) -> None:
        """A host that refuses the query is asked without it, from then on."""
        self.registry.add_image("team/app", "v2")
        self.registry.guard = lambda asked: Reply(400) if asked.query else None
        await self.start(self.upstream("quay.test"))
        for tag in ("v1", "v2"):
            self.assertEqual(200, (await self.pull(tag)).status)
        self.assertEqual(["ns=quay.test", "", ""], self.queries())

    @running
    async def test_not_found(self) -> None:
        """What is not found with the query is not asked for without it."""
        self.registry.guard = lambda asked: Reply(404) if asked.query else None
        await self.start(self.upstream("quay.test"))
        self.assertEqual(404, (await self.pull()).status)
        self.assertEqual({"ns=quay.test"}, set(self.queries()))

    @running
    async def test_another_registry(self) -> None:
        """An image that the host says is another registry's is not served."""

        def answer(asked: Asked) -> Reply | None:
            if asked.query:
                return Reply(400)
            reply = self.registry.honest(asked)
            reply.headers["OCI-Namespace"] = "docker.io"
            return reply

        self.registry.guard = answer
        await self.start(self.upstream("quay.test"))
        self.assertEqual(502, (await self.pull()).status)


class Paths(MirrorTestCase):
    """Hosts that have a registry below a path."""

    @running
    async def test_path(self) -> None:
        """The path stands before the repository in every request."""
        manifest, blobs = self.registry.add_image("dockerhub/library/app", "v1", b"layer")
        host = HostSettings(self.registry.host, tls=False, path="dockerhub")
        await self.start(UpstreamSettings("docker.io", (host,)))
        for end in ("manifests/v1", f"blobs/{blobs[-1]}", "tags/list", f"referrers/{manifest}"):
            got = await self.client.get(f"/v2/library/app/{end}")
            self.assertEqual(200, got.status, end)
        asked = {asked.path for asked in self.registry.asked}
        self.assertTrue(all(path.startswith("/v2/dockerhub/library/app/") for path in asked), asked)

    @running
    async def test_pages(self) -> None:
        """The path stands before the repository in the pages of a list, whose links the host makes."""
        for tag in ("v1", "v2", "v3"):
            self.registry.add_image("proxy/team/app", tag)
        host = HostSettings(self.registry.host, tls=False, path="proxy")
        await self.start(UpstreamSettings("docker.io", (host,)))
        got = await self.client.get("/v2/team/app/tags/list?n=2")
        self.assertIn("</v2/team/app/tags/list?n=2&last=v2>", got.headers["link"])
        got = await self.client.get("/v2/team/app/tags/list?n=2&last=v2")
        self.assertIn(b'["v3"]', got.body)

    @running
    async def test_token(self) -> None:
        """The path stands before the repository in the scope of the token that is asked for."""
        self.registry.add_image("dockerhub/library/app", "v1")
        server = self.another()
        tokens = FakeTokens(server)
        tokens.protect(self.registry)
        host = HostSettings(self.registry.host, tls=False, path="dockerhub")
        await self.start(UpstreamSettings("docker.io", (host,)))
        self.assertEqual(200, (await self.client.get("/v2/library/app/manifests/v1")).status)
        (asked,) = server.asked
        scope = parse_qs(asked.query)["scope"]
        self.assertEqual(["repository:dockerhub/library/app:pull"], scope)

    @running
    async def test_two_paths_of_one_host(self) -> None:
        """What is not below the first path is looked for below the next one of the same host."""
        self.registry.add_image("b/team/app", "v1")
        hosts = [HostSettings(self.registry.host, tls=False, path=path) for path in ("a", "b")]
        await self.start(UpstreamSettings("docker.io", tuple(hosts)))
        self.assertEqual(200, (await self.client.get("/v2/team/app/manifests/v1")).status)


class Before(MirrorTestCase):
    """A registry before /v2."""

    @running
    async def test_pages(self) -> None:
        """The link to the next page leads to where the client has asked."""
        for tag in ("v1", "v2", "v3"):
            self.registry.add_image("team/app", tag)
        await self.start(self.upstream("hub"), self.upstream("quay.test"))
        got = await self.client.get("/hub/v2/team/app/tags/list?n=2&ns=quay.test")
        self.assertIn(b'"name": "team/app"', got.body)
        link = "</hub/v2/team/app/tags/list?n=2&last=v2&ns=quay.test>"
        self.assertIn(link, got.headers["link"])


class UpperCase(MirrorTestCase):
    """Repositories with upper-case letters."""

    @running
    async def test_stored(self) -> None:
        """They are pulled, and then served from the store, each under its own name."""
        images = {
            name: self.registry.add_image(name, name.replace("/", "-"))[0]
            for name in ("Team/App", "team/app", "TEAM/APP")
        }
        daemon = await self.start(self.upstream("hf.co", upper_case_names=True))
        for _ in range(2):
            for name, digest in images.items():
                tag = name.replace("/", "-")
                got = await self.client.get(f"/v2/hf.co/{name}/manifests/{tag}")
                self.assertEqual(
                    (200, str(digest)), (got.status, got.headers["docker-content-digest"])
                )
            # Tags are written in the background.
            await until(lambda: not len(daemon.parts.records))
            for registry in self.registries:
                await registry.stop()
        self.assertEqual(3, len({file.lower() for file in self.files() if "_tags" in file}))
        for registry in self.registries:
            registry.start(self.time)

    @running
    async def test_longest(self) -> None:
        """The longest name there may be can be stored."""
        name = "A" * 127
        digest, _ = self.registry.add_image(name, "v1")
        daemon = await self.start(self.upstream("hf.co", upper_case_names=True))
        for end in ("manifests/v1", f"manifests/{digest}", "tags/list", "manifests/v1"):
            got = await self.client.get(f"/v2/hf.co/{name}/{end}")
            self.assertEqual(200, got.status, end)
        await until(lambda: not len(daemon.parts.records))
        self.assertTrue([file for file in self.files() if "_tags" in file])
        got = await self.client.get(f"/v2/hf.co/{name}A/manifests/v1")
        self.assertEqual(400, got.status)
