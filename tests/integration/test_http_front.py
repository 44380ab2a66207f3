"""HTTP as clients and proxies in front of the daemon speak it, well and badly, on real sockets."""

from __future__ import annotations

from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until

START = b"GET /v2/ HTTP/1.1\r\nHost: m\r\n"


class Front(MirrorTestCase):
    """What is read of a connection before any resource is asked."""

    async def refused(self, data: bytes, status: int) -> Response:
        """What is sent is answered at once, and its connection closed in order."""
        response = await self.client.send(data)
        await until(lambda: response.ended is not None)
        self.assertEqual((status, "closed"), (response.status, response.ended), data[:200])
        return response

    async def served(self, data: bytes) -> Response:
        """What is sent is answered with 200."""
        response = await (await self.client.send(data)).done
        self.assertEqual(200, response.status, data[:200])
        return response

    @running
    async def test_absolute_form(self) -> None:
        """A target in absolute form means its path, on every endpoint (RFC 9112 section 3.2.2)."""
        _, blobs = self.registry.add_image("library/app", "1", b"layer")
        await self.start()
        for start in (b"http://mirror.example:8080", b"https://docker.io", b"HTTP://[::1]:80"):
            for path in (
                b"/v2/",
                b"/v2/docker.io/library/app/manifests/1",
                b"/v2/library/app/manifests/1?ns=docker.io",
                f"/v2/library/app/blobs/{blobs[1]}?ns=docker.io".encode(),
                b"/v2/library/app/tags/list",
                b"/healthz",
                b"/readyz",
                b"",
            ):
                await self.served(b"GET " + start + path + b" HTTP/1.1\r\nHost: other\r\n\r\n")

    @running
    async def test_large_heads(self) -> None:
        """A head of up to 64 KiB is read, in one line or in many; a longer one is a 431 at once."""
        await self.start()
        await self.served(START + b"Authorization: Bearer " + b"a" * 65_000 + b"\r\n\r\n")
        await self.served(START + b"".join(b"X-%d: a\r\n" % n for n in range(400)) + b"\r\n")
        lines = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(64))
        await self.served(START + lines + b"\r\n")
        await self.refused(START + lines * 2, 431)
        await self.refused(START + b"Authorization: Bearer " + b"a" * 66_000, 431)
        await self.refused(b"GET /v2/" + b"a" * 66_000, 414)

    @running
    async def test_line_ends(self) -> None:
        """Line feeds on their own are refused at once; empty lines before a request are passed over."""
        await self.start()
        await self.refused(b"GET /v2/ HTTP/1.1\nHost: m\n\n", 400)
        await self.refused(b"GET /v2/ HTTP/1.1\r\nHost: m\n", 400)
        await self.served(b"\r\n" + START + b"\r\n")
        await self.served(b"\r\n\r\n\r\n" + START + b"\r\n")

    @running
    async def test_chunk_sizes(self) -> None:
        """A chunk's size that is none, or is absurd, is refused though its line has no end."""
        await self.start()
        head = b"PUT /v2/ HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n"
        for size in (b"zz", b"-5\r\n", b"f" * 16 + b"\r\n", b"9" * 5000, b"5;" + b"a" * 9000):
            await self.refused(head + size, 400)
        await self.refused(head + b"fffffff\r\n", 413)
        response = await (await self.client.send(head + b"5\r\nhello\r\n0\r\n\r\n")).done
        self.assertEqual(405, response.status)

    @running
    async def test_hosts_and_lengths(self) -> None:
        """One Host and one length: all else is a 400 (RFC 9112 sections 3.2 and 6.1)."""
        await self.start()
        for fields in (
            b"",
            b"Host: m\r\nHost: m\r\n",
            b"Host: m\r\nTransfer-Encoding: chunked, gzip\r\n",
            b"Host: m\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            b"Host: m\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            b"Host: m\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            b"Host: m\r\nContent-Length: " + b"9" * 5000 + b"\r\n",
            b"Host: m\r\nA : b\r\n",
            b"Host: m\r\nA: b\r\n folded\r\n",
        ):
            await self.refused(b"GET /v2/ HTTP/1.1\r\n" + fields + b"\r\n", 400)
        await self.refused(b"GET /v2/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400)
        await self.served(b"GET /v2/ HTTP/1.0\r\n\r\n")

    @running
    async def test_other_versions(self) -> None:
        """HTTP/2 without a word, and what calls itself something else, is a 505 or a 400."""
        await self.start()
        await self.refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)
        for version in (b"", b" http/1.1", b" HTTP/11", b" HTCPCP/1.0"):
            await self.refused(b"GET /v2/" + version + b"\r\nHost: m\r\n\r\n", 400)

    @running
    async def test_error_in_the_second(self) -> None:
        """A pipelined request that is refused leaves the one before it its answer."""
        await self.start()
        for second in (b"GET /v2/ HTTP/1.1\r\n\r\n", b"\0", b"GET /v2/ HTTP/1.1\n"):
            response = await self.client.send(START + b"\r\n" + second)
            await until(lambda response=response: response.ended is not None)  # type: ignore[misc]
            statuses = [part[:3] for part in response.raw.split(b"HTTP/1.1 ") if part[:1].isdigit()]
            self.assertEqual(([b"200", b"400"], "closed"), (statuses, response.ended))
