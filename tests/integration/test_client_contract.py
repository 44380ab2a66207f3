"""What container runtimes rely on, one test for each thing."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from oci_registry.config.settings import UpstreamSettings
from oci_registry.pullthrough import manifests as manifest_cache
from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
)
from oci_registry.web.client_watch import ClientWatchLimits
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import Asked, Reply


class ClientContract(MirrorTestCase):
    """The daemon as dockerd, containerd, podman and CRI-O see it."""

    @running
    async def test_01_handshake_on_the_plain_port(self) -> None:
        """A TLS ClientHello is answered at its first byte, not when a head is complete."""
        await self.start()
        response = await self.client.send(b"\x16\x03\x01")
        await until(lambda: response.ended == "closed")
        self.assertEqual(400, response.status)

    @running
    async def test_02_base_is_local(self) -> None:
        """``/v2/`` is 200 whatever the upstreams do, and asks none of them."""
        upstreams = (self.upstream("docker.io"),)
        await self.registry.stop()
        await self.start(*upstreams)
        for path in ("/v2/", "/v2", "/v2/?ns=docker.io"):
            for method in ("GET", "HEAD"):
                response = await self.client.get(path, method)
                self.assertEqual(200, response.status)
                api = response.headers["docker-distribution-api-version"]
                self.assertEqual("registry/2.0", api)

    @running
    async def test_03_head_and_get_tell_the_same(self) -> None:
        """Digest, length, type and the rest are on HEAD and GET, cached or not."""
        manifest, blobs = self.registry.add_image("library/app", "1", b"layer" * 1000)
        await self.start()
        raw = self.registry.manifests["library/app", "1"][0]
        for path, digest, length, media_type in (
            ("manifests/1", manifest, len(raw), OCI_MANIFEST),
            (f"manifests/{manifest}", manifest, len(raw), OCI_MANIFEST),
            (f"blobs/{blobs[1]}", blobs[1], 5000, "application/octet-stream"),
        ):
            for method in ("HEAD", "GET", "HEAD", "GET"):
                got = await self.client.get(f"/v2/library/app/{path}?ns=docker.io", method)
                expected = {
                    "docker-content-digest": str(digest),
                    "content-length": str(length),
                    "content-type": media_type,
                    "docker-distribution-api-version": "registry/2.0",
                    "oci-namespace": "docker.io",
                }
                if "blobs" in path:
                    expected["accept-ranges"] = "bytes"
                self.assertEqual(200, got.status)
                self.assertEqual(expected, {k: got.headers.get(k) for k in expected}, method)

    @running
    async def test_04_bytes_and_type_are_upstreams(self) -> None:
        """Manifests are never re-serialised, transcoded or encoded; their type is kept."""
        await self.start()
        for number, media_type in enumerate(MANIFEST_TYPES):
            raw = (
                b'{ "schemaVersion":2 ,\n\t"mediaType": "%b", "n": %d, "manifests": [],'
                % (
                    media_type.encode(),
                    number,
                )
                + b'"config": {}, "layers": [] }  \n'
            )
            digest = self.registry.add_manifest("library/app", f"t{number}", raw, media_type)
            for reference in (f"t{number}", str(digest)):
                got = await self.client.get(
                    f"/v2/library/app/manifests/{reference}", Accept_Encoding="zstd, gzip"
                )
                self.assertEqual((raw, media_type), (bytes(got.body), got.headers["content-type"]))
                self.assertNotIn("content-encoding", got.headers)

    @running
    async def test_05_accept_decides_nothing(self) -> None:
        """Whatever the client accepts, in whatever lines and order, it gets the same."""
        self.registry.add_image("library/app", "1")
        await self.start()
        lines = [
            [],
            ["*/*"],
            [DOCKER_LIST, OCI_INDEX],
            [OCI_INDEX, DOCKER_MANIFEST, "application/json", "text/html;q=0.1"],
            ["text/plain"],
        ]
        bodies = set()
        for accepts in lines:
            head = "GET /v2/library/app/manifests/1 HTTP/1.1\r\nHost: m\r\n"
            head += "".join(f"Accept: {value}\r\n" for value in accepts)
            response = await (await self.client.send(head.encode() + b"\r\n")).done
            bodies.add((response.status, response.headers["content-type"], bytes(response.body)))
        self.assertEqual(1, len(bodies))
        self.assertEqual(1, self.registry.count("manifests"))

    @running
    async def test_06_ranges(self) -> None:
        """Ranges are clamped and answered alike from a transfer under way and from the store."""
        data = bytes(n * 7 % 251 for n in range(300_000))
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=200_000))
        await self.start()
        path = f"/v2/library/app/blobs/{digest}"
        cases = (
            ("bytes=0-", 0, 300_000),
            ("bytes=150000-", 150_000, 300_000),
            ("bytes=100-199", 100, 200),
            ("bytes=299990-300000", 299_990, 300_000),
            ("bytes=299990-999999999", 299_990, 300_000),
            ("bytes=-10", 299_990, 300_000),
            ("bytes=-999999999", 0, 300_000),
        )
        for kind in ("growing", "stored"):
            begun = [await self.client.begin(path, Range=value) for value, _, _ in cases]
            whole = await self.client.begin(path, Range="bytes=0-1,4-5")
            if kind == "growing":
                await begun[2].done
                gate.callback(None)
            for response, (value, start, stop) in zip(begun, cases, strict=True):
                await response.done
                self.assertEqual(206, response.status, (kind, value))
                self.assertEqual(
                    f"bytes {start}-{stop - 1}/300000", response.headers["content-range"]
                )
                self.assertTrue(bytes(response.body) == data[start:stop], (kind, value))
            await whole.done
            self.assertEqual((200, 300_000), (whole.status, len(whole.body)))
            beyond = await self.client.get(path, Range="bytes=300000-")
            self.assertEqual(
                (416, "bytes */300000"), (beyond.status, beyond.headers["content-range"])
            )
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_07_broken_bodies_end_in_order(self) -> None:
        """A response that cannot be completed is closed, not reset, short of its length."""
        data = bytes(500_000)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        broken = Reply(body=data, hold=gate, hold_at=300_000, cut=400_000, reset=True)
        self.registry.script("/blobs/", broken)
        await self.start(self.upstream("docker.io", retries=1))
        got = await self.client.begin(f"/v2/library/app/blobs/{digest}")
        await got.got_headers
        gate.callback(None)
        await got.done
        self.assertEqual((200, "closed", False), (got.status, got.ended, got.complete))
        self.assertEqual(500_000, got.length)

    @running
    async def test_08_no_last_byte_of_unverified_content(self) -> None:
        """The last byte of wrong content never leaves."""
        data = bytes(200_000)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        wrong = Reply(body=data[:-1] + b"x", hold=gate, hold_at=199_999)
        self.registry.script("/blobs/", wrong)
        await self.start()
        got = await self.client.begin(f"/v2/library/app/blobs/{digest}")
        await got.got_headers
        gate.callback(None)
        await got.done
        self.assertLess(len(got.body), 200_000)
        self.assertFalse(got.complete)

    @running
    async def test_09_a_manifest_commits_to_its_blobs(self) -> None:
        """A blob of a manifest that was served is had, when it is gone from the store too."""
        _, blobs = self.registry.add_image("library/app", "1", b"layer")
        await self.start()
        await self.client.get("/v2/library/app/manifests/1")
        for _ in range(2):
            got = await self.client.get(f"/v2/library/app/blobs/{blobs[1]}")
            self.assertEqual(b"layer", bytes(got.body))
            await until(lambda: bool(self.files("blobs")))
            # Who asks before the transfer is over joins it, and nothing is downloaded.
            await self.idle()
            for file in self.files("blobs"):
                (self.root / file).unlink()

    @running
    async def test_10_statuses_let_clients_go_on(self) -> None:
        """429 becomes 503 with its Retry-After, and an upstream's challenge is never passed on."""
        await self.start()
        challenge = {"WWW-Authenticate": 'Bearer realm="https://evil.example/token"'}
        self.registry.script("/manifests/limited", Reply(429, headers={"Retry-After": "9"}))
        self.registry.script("/manifests/secret", Reply(401, headers=challenge))
        limited = await self.time.hurry(self.client.get("/v2/library/app/manifests/limited"))
        code = json.loads(limited.body)["errors"][0]["code"]
        self.assertEqual(
            (503, "TOOMANYREQUESTS", "9"), (limited.status, code, limited.headers["retry-after"])
        )
        secret = await self.time.hurry(self.client.get("/v2/library/app/manifests/secret"))
        self.assertNotIn(secret.status, (200, 401))
        self.assertNotIn("www-authenticate", secret.headers)

    @running
    async def test_11_headers_in_time(self) -> None:
        """Headers leave within 30 s, whether upstream is silent, slow or trickling."""
        self.assertLess(manifest_cache.REVALIDATION_TIMEOUT, 30)
        self.assertLess(
            UpstreamSettings.dynamic("example.com").response_timeout + ClientWatchLimits().headers,
            30,
        )
        data = bytes(100_000)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=0))
        await self.start()
        response = await self.client.begin(f"/v2/library/app/blobs/{digest}")
        await until(lambda: bool(gate.callbacks))
        while not response.status:
            self.time.forward(0.1)
            await deferLater(self.time, 0)
        self.assertEqual(200, response.status)
        self.assertLessEqual(len(response.body), 10)
        gate.callback(None)
        await response.done
        self.assertTrue(response.complete)

    @running
    async def test_12_referrers_in_one_answer(self) -> None:
        """Upstream's pages are put together, filtered, and bounded; no Link is left to follow."""
        subject = Digest.of(b"subject")
        path = f"/v2/library/app/referrers/{subject}"

        def pages(asked: Asked) -> Reply:
            number = int(parse_qs(asked.query).get("page", ["0"])[0])
            types = ("sbom", "signature")
            manifests = [{"artifactType": types[number % 2], "digest": "d", "size": number}]
            headers = {"Content-Type": OCI_INDEX}
            if number < 3:
                headers["Link"] = f'<{path}?page={number + 1}>; rel="next"'
            return Reply(body=json.dumps({"manifests": manifests}).encode(), headers=headers)

        self.registry.script("/referrers/", pages)
        await self.start()
        everything = await self.client.get(path)
        self.assertEqual(
            [0, 1, 2, 3], [m["size"] for m in json.loads(everything.body)["manifests"]]
        )
        self.assertEqual(OCI_INDEX, everything.headers["content-type"])
        self.assertNotIn("link", everything.headers)
        some = await self.client.get(f"{path}?artifactType=sbom")
        self.assertEqual([0, 2], [m["size"] for m in json.loads(some.body)["manifests"]])
        self.assertEqual("artifactType", some.headers["oci-filters-applied"])
        large = Reply(body=json.dumps({"manifests": [{"a": "x" * (5 << 20)}]}).encode())
        self.registry.script("/referrers/", large)
        self.assertEqual(502, (await self.client.get(path)).status)

    @running
    async def test_12_referrers_without_the_api(self) -> None:
        """An upstream without the API is asked for the referrers tag; none at all is an empty index."""
        subject = Digest.of(b"subject")
        await self.start()
        empty = await self.client.get(f"/v2/library/app/referrers/{subject}")
        self.assertEqual((200, []), (empty.status, json.loads(empty.body)["manifests"]))
        index = {"schemaVersion": 2, "manifests": [{"artifactType": "a", "digest": "d", "size": 1}]}
        tag = str(subject).replace(":", "-")
        self.registry.add_manifest("library/app", tag, json.dumps(index).encode(), OCI_INDEX)
        one = await self.client.get(f"/v2/library/app/referrers/{subject}")
        self.assertEqual(index["manifests"], json.loads(one.body)["manifests"])

    @running
    async def test_13_warning_when_stale(self) -> None:
        """A stale answer says so with ``Warning: 299`` and its age."""
        self.registry.add_image("library/app", "1")
        await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        fresh = await self.client.get("/v2/library/app/manifests/1")
        self.assertNotIn("warning", fresh.headers)
        for method in ("HEAD", "GET"):
            self.registry.script("", Reply(503), method=method)
        stale = await self.client.get("/v2/library/app/manifests/1")
        self.assertEqual(200, stale.status)
        self.assertRegex(stale.headers["warning"], r'^299 - "[^"]+"$')
        self.assertRegex(stale.headers["age"], r"^\d+$")

    @running
    async def test_14_aliases(self) -> None:
        """docker.io, index.docker.io and registry-1.docker.io are one; single names are library's."""
        self.registry.add_image("library/app", "1")
        await self.start()
        for host in ("docker.io", "index.docker.io", "registry-1.docker.io"):
            for path in (f"/v2/{host}/app/manifests/1", f"/v2/app/manifests/1?ns={host}"):
                self.assertEqual(200, (await self.client.get(path)).status, path)
        self.assertEqual(1, len(self.registry.asked))

    @running
    async def test_15_framing(self) -> None:
        """Bodies are framed by Content-Length, or in chunks where nobody knows the length."""
        data = bytes(100_000)
        digest = self.registry.add_blob(data)
        self.registry.script("/blobs/", Reply(body=data, length=None))
        await self.start()
        got = await self.client.get(f"/v2/library/app/blobs/{digest}")
        self.assertEqual(("chunked", True), (got.headers["transfer-encoding"], got.complete))
        for path in ("/v2/", "/v2/x", f"/v2/library/app/blobs/{digest}", "/metrics", "/healthz"):
            got = await self.client.get(path)
            self.assertEqual(len(got.body), got.length, path)
