"""Whatever a client sends, it gets a clear answer or an orderly close, and nothing is left behind."""

from __future__ import annotations

import json

from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until

DIGEST = "sha256:" + "0" * 64
HEAD = b" HTTP/1.1\r\nHost: mirror\r\n\r\n"


class BadInput(MirrorTestCase):
    """Requests that no good client sends."""

    def code(self, response: Response) -> str:
        """Return the OCI code, having checked the form of the error."""
        self.assertEqual("application/json", response.headers["content-type"])
        self.assertNotIn(b"Traceback", bytes(response.body))
        code: str = json.loads(response.body)["errors"][0]["code"]
        return code

    @running
    async def test_paths(self) -> None:
        """Names, references and digests outside the grammar are refused with the right code."""
        await self.start()
        for path, status, code in (
            ("/v2/UPPER/manifests/1", 400, "NAME_INVALID"),
            ("/v2/a/b/manifests/1/", 400, "NAME_INVALID"),
            ("/v2/a//../b/manifests/1", 400, "NAME_INVALID"),
            ("/v2/../a/manifests/1", 400, "NAME_INVALID"),
            ("/v2/a/../../etc/manifests/1", 400, "NAME_INVALID"),
            ("/v2/a/%2e%2e/b/manifests/1", 400, "NAME_INVALID"),
            ("/v2/a%2Fb/manifests/1", 400, "NAME_INVALID"),
            ("/v2/a%00b/manifests/1", 400, "NAME_INVALID"),
            ("/v2/a%zz/manifests/1", 400, "NAME_INVALID"),
            ("/v2/%ff/manifests/1", 400, "NAME_INVALID"),
            ("/v2/-a/manifests/1", 400, "NAME_INVALID"),
            ("/v2/" + "a" * 300 + "/manifests/1", 400, "NAME_INVALID"),
            ("/v2/" + "a/" * 2500 + "manifests/1", 400, "NAME_INVALID"),
            ("/v2/a/manifests/" + "t" * 129, 400, "MANIFEST_INVALID"),
            ("/v2/a/manifests/-t", 400, "MANIFEST_INVALID"),
            ("/v2/a/manifests/sha256:abc", 400, "DIGEST_INVALID"),
            ("/v2/a/manifests/md5:" + "0" * 32, 400, "DIGEST_INVALID"),
            ("/v2/a/blobs/" + DIGEST + "0", 400, "DIGEST_INVALID"),
            ("/v2/a/blobs/" + DIGEST.upper(), 400, "DIGEST_INVALID"),
            ("/v2/a/blobs/sha256:" + "g" * 64, 400, "DIGEST_INVALID"),
            ("/v2/a/blobs/latest", 400, "DIGEST_INVALID"),
            ("/v2/a/tags/list?n=-1", 400, "PAGINATION_NUMBER_INVALID"),
            ("/v2/a/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"),
            ("/v2/nothing", 404, "NAME_UNKNOWN"),
            ("/v2/a/uploads/1", 404, "NAME_UNKNOWN"),
            ("/somewhere", 404, "NAME_UNKNOWN"),
            ("/some/where/v2/", 404, "NAME_UNKNOWN"),
            ("/somewhere/v2/a/manifests/1", 404, "NAME_UNKNOWN"),
        ):
            response = await self.client.get(path)
            got = (response.status, self.code(response))
            self.assertEqual((status, code), got, path[:80])
        self.assertEqual([], self.registry.asked)

    @running
    async def test_ns(self) -> None:
        """``ns`` names a registry host, once, and nothing else."""
        await self.start()
        for ns in (
            "a/b",
            "https://docker.io",
            "user:pass@docker.io",
            "docker.io ",
            "do cker.io",
            "docker.io%00",
            "docker.io/",
            "docker.io:",
            "docker.io:99999",
            "[::1",
            "..",
            "docker.io&ns=docker.io",
            "docker.io&ns=quay.io",
        ):
            path = f"/v2/library/app/manifests/1?ns={ns.replace(' ', '%20')}"
            response = await self.client.get(path)
            self.assertEqual((400, "NAME_INVALID"), (response.status, self.code(response)), ns)
            self.assertNotIn(b"pass", bytes(response.body))
        self.assertEqual([], self.registry.asked)

    @running
    async def test_private_addresses_are_not_reached(self) -> None:
        """A host that only a client named is not looked for in our own network."""
        await self.start()
        host = self.registry.host
        port = host.rpartition(":")[2]
        for ns in (host, f"localhost:{port}", f"[::1]:{port}", f"[::ffff:127.0.0.1]:{port}"):
            response = await self.client.get(f"/v2/library/app/manifests/1?ns={ns}")
            self.assertEqual(502, response.status, ns)
        self.assertEqual(0, self.registry.connections)

    @running
    async def test_only_configured_registries(self) -> None:
        """With ``--upstreams configured`` other registries are unknown."""
        self.registry.add_image("library/app", "1")
        await self.start(allow_dynamic_upstreams=False)
        response = await self.client.get("/v2/quay.io/a/b/manifests/1")
        self.assertEqual((404, "NAME_UNKNOWN"), (response.status, self.code(response)))
        self.assertEqual(200, (await self.client.get("/v2/app/manifests/1")).status)

    @running
    async def test_methods(self) -> None:
        """A method that is not offered is a 405 that says which are; its body is not kept."""
        await self.start()
        for method in ("PUT", "POST", "DELETE", "PATCH", "OPTIONS", "BREW"):
            for path in ("/v2/", "/v2/a/manifests/1", f"/v2/a/blobs/{DIGEST}", "/healthz"):
                response = await self.client.get(path, method, Content_Length="0")
                self.assertEqual((405, "UNSUPPORTED"), (response.status, self.code(response)))
                self.assertEqual("GET, HEAD", response.headers["allow"])
        head = b"PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: m\r\nContent-Length: 99999999\r\n\r\n"
        response = await self.client.send(head + bytes(2 << 20))
        await response.done
        self.assertEqual(413, response.status)
        self.assertEqual(set(), self.files())

    @running
    async def test_ranges(self) -> None:
        """Malformed and absurd ranges are ignored, impossible ones are a 416 that tells the size."""
        data = bytes(range(256)) * 4
        digest = self.registry.add_blob(data)
        await self.start()
        path = f"/v2/library/app/blobs/{digest}"
        for round_ in ("cold", "warm"):
            for value in (
                "bytes=",
                "bytes=a-b",
                "items=0-1",
                "bytes=5-3",
                "bytes=-",
                "0-5",
                "bytes=0-1,5-6",
                "bytes=" + "9" * 500 + "-",
                "bytes=--5",
            ):
                response = await self.client.get(path, Range=value)
                self.assertEqual((200, data), (response.status, bytes(response.body)), value)
            for value in (
                "bytes=1024-",
                "bytes=5000-6000",
                "bytes=-0",
                "bytes=99999999999999999999-",
            ):
                response = await self.client.get(path, Range=value)
                self.assertEqual(416, response.status, (round_, value))
                self.assertEqual("bytes */1024", response.headers["content-range"])
                self.assertEqual("RANGE_INVALID", self.code(response))

    @running
    async def test_header_flood(self) -> None:
        """Too many or too long headers, or a body without end, get an answer and an orderly close."""
        await self.start()
        for flood, status in (
            (b"".join(b"X-%d: y\r\n" % n for n in range(5000)), 431),
            (b"X: " + b"y" * 100_000 + b"\r\n", 431),
            (b"Host: m\r\nContent-Length: 9999999999\r\n\r\n" + bytes(20 << 20), 413),
        ):
            response = await self.client.send(b"GET /v2/ HTTP/1.1\r\n" + flood + b"\r\n")
            await until(lambda response=response: response.ended is not None)  # type: ignore[misc]
            self.assertEqual((status, "closed"), (response.status, response.ended))

    @running
    async def test_garbage(self) -> None:
        """What is not HTTP gets a 400 or a close."""
        await self.start()
        for data in (b"\r\n\r\n\r\n", b"hello\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET /v2/\r\n\r\n"):
            response = await self.client.send(data)
            if data.strip():
                await until(lambda response=response: response.ended is not None)  # type: ignore[misc]
                self.assertIn(response.status, (0, 400))
        self.assertEqual(200, (await self.client.get("/v2/")).status)

    @running
    async def test_cut_requests(self) -> None:
        """Requests that break off anywhere leave nothing behind."""
        _, blobs = self.registry.add_image("library/app", "1", b"x" * 100_000)
        daemon = await self.start()
        request = f"GET /v2/library/app/blobs/{blobs[1]} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
        for cut in range(1, len(request), 7):
            response = await self.client.send(request[:cut])
            response.close()
        await until(lambda: daemon.parts.site.connection_count() == 0)
        self.assertEqual(200, (await self.client.get("/v2/")).status)

    @running
    async def test_pipelined(self) -> None:
        """Pipelined requests are answered in order on one connection."""
        await self.start()
        response = await self.client.send(
            b"GET /v2/" + HEAD + b"GET /healthz" + HEAD + b"GET /x" + HEAD
        )
        await until(lambda: response.raw.count(b"HTTP/1.1 ") == 3)
        self.assertEqual(
            [b"200", b"200", b"404"],
            [part[:3] for part in response.raw.split(b"HTTP/1.1 ")[1:]],
        )

    @running
    async def test_http_1_0(self) -> None:
        """HTTP/1.0 is answered and closed."""
        await self.start()
        response = await self.client.send(b"GET /v2/ HTTP/1.0\r\n\r\n")
        await until(lambda: response.ended == "closed")
        self.assertEqual((200, b"{}"), (response.status, bytes(response.body)))

    @running
    async def test_client_hello_on_the_plain_port(self) -> None:
        """A TLS handshake is refused at its first byte: nobody waits for more."""
        await self.start()
        response = await self.client.send(b"\x16")
        await until(lambda: response.ended == "closed")
        self.assertEqual(400, response.status)

    @running
    async def test_nothing_is_stuck(self) -> None:
        """After all of this the daemon serves, and no connection is left."""
        daemon = await self.start()
        for _ in range(50):
            response = await self.client.send(b"GET /v2/")
            response.close()
        await until(lambda: daemon.parts.site.connection_count() == 0)
        self.assertEqual(200, (await self.client.get("/healthz")).status)
