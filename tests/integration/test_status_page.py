"""The status page of a daemon, without a browser: on its socket, and on a port with a token."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import urlencode

from oci_registry.account.schema import FILE
from oci_registry.spec.sizes import parse_size
from tests.support.admin import AdminTestCase, events_of, held_download
from tests.support.client import Client, Response
from tests.support.daemon import reactor, running, until
from tests.support.html import Element, faults, read_html
from tests.support.patterns import pattern

TOKEN = "0123456789-abcdefghij"
BASIC = "Basic " + b64encode(f"me:{TOKEN}".encode()).decode()


class Socket(AdminTestCase):
    """The page on the socket in the directory of the store."""

    async def page(self, path: str = "/") -> Element:
        """Return a page, in which nothing is wrong."""
        got = await self.admin.get(path)
        self.assertEqual(200, got.status, bytes(got.body))
        document = read_html(got.body)
        self.assertEqual([], faults(document))
        return document

    async def pull(self, tag: str = "1") -> None:
        """Have an image in the store."""
        _, blobs = self.registry.add_image("team/app", tag, pattern(50_000))
        await self.client.get(f"/v2/team/app/manifests/{tag}")
        for blob in blobs:
            await self.client.get(f"/v2/team/app/blobs/{blob}")
        await self.idle()
        await until(lambda: not len(self.daemons[-1].parts.records))

    async def post(self, **fields: str) -> Response:
        """Send a form as a browser does."""
        body = urlencode(fields)
        lines = [
            "POST /page/act HTTP/1.1",
            "Host: mirror",
            "Origin: http://mirror",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
        ]
        sent = await self.admin.send(("\r\n".join(lines) + "\r\n\r\n" + body).encode(), "POST")
        return await sent.done

    @running
    async def test_page(self) -> None:
        """What the daemon knows is on the page: images, registries, the disk."""
        await self.start(max_size=parse_size("1GB"))
        await self.account_complete()
        await self.pull()
        document = await self.page()
        for part, said in (
            ("daemon", "Ready"),
            ("transfers", "No download is running"),
            ("images", "docker.io/team/app:1"),
            ("upstreams", "docker.io"),
            ("disk", "of the limit of 1.0 GB"),
            ("errors", "No warnings or errors"),
        ):
            self.assertIn(said, document.with_id(part).text)
        self.assertNotIn("available:", document.text)

    @running
    async def test_transfers(self) -> None:
        """A running download is on the page."""
        _, gate, pulling = await held_download(self)
        text = (await self.page()).with_id("transfers").text
        self.assertIn("docker.io/team/app", text)
        self.assertIn("40%, 200 kB of 500 kB", text)
        gate.callback(None)
        await pulling.done

    @running
    async def test_actions(self) -> None:
        """Images are pinned, unpinned, refreshed and removed by forms."""
        await self.start()
        await self.pull()
        image = "docker.io/team/app:1"
        for action, said in (("pin", "Pinned"), ("refresh", "To be refreshed at the next pull")):
            got = await self.post(action=action, image=image)
            self.assertEqual(303, got.status)
            self.assertIn(said, (await self.page(f"/page/{got.headers['location']}")).text)
        self.assertEqual(409, (await self.post(action="remove", image=image)).status)
        self.assertEqual(303, (await self.post(action="unpin", image=image)).status)
        self.assertIn(
            "not shared with other images", (await self.page(f"/page/remove?image={image}")).text
        )
        got = await self.post(action="remove", image=image)
        self.assertEqual((303, "../?done=remove&image=docker.io%2Fteam%2Fapp%3A1#images"),
                         (got.status, got.headers["location"]))  # fmt: skip
        self.assertNotIn("team/app:1", (await self.page()).with_id("images").text)
        self.assertEqual(404, (await self.admin.get("/page/image?image=team/app:2")).status)

    @running
    async def test_tag(self) -> None:
        """A tag is held and released by forms."""
        await self.start()
        await self.pull()
        image = "docker.io/team/app:1"
        self.assertEqual(303, (await self.post(action="hold", image=image)).status)
        self.assertIn("Held at", (await self.page(f"/page/image?image={image}")).text)
        self.assertEqual(303, (await self.post(action="release", image=image)).status)
        self.assertNotIn("Held at", (await self.page(f"/page/image?image={image}")).text)
        # There is no earlier digest.
        self.assertEqual(409, (await self.post(action="rollback", image=image)).status)

    @running
    async def test_no_account(self) -> None:
        """Without an index of the store the page says so, and shows everything else."""
        (self.root / FILE / "folder").mkdir(parents=True)
        daemon = await self.start()
        account = daemon.parts.account
        assert account is not None
        await until(lambda: account.is_off)
        document = await self.page()
        for part in ("images", "largest", "used"):
            self.assertIn("Not available: the index of the store", document.with_id(part).text)
        self.assertIn("Ready", document.with_id("daemon").text)
        self.assertIn("docker.io", document.with_id("upstreams").text)

    @running
    async def test_hostile(self) -> None:
        """Names and errors from elsewhere are text, whatever is in them."""
        await self.start()
        evil = "<script>alert(1)</script>"
        self.daemons[-1].parts.events.record("error", level="warn", text=f"of {evil}\x00\u202e")
        await self.client.get("/v2/x/manifests/1?ns=%3Cscript%3E.example")
        document = await self.page("/?search=%3Cscript%3Ealert(1)%3C/script%3E")
        self.assertIn(evil, document.with_id("errors").text)
        self.assertIn(evil, document.with_id("images").text)
        self.assertEqual(1, len(document.all("script")))


class Port(AdminTestCase):
    """A TCP port, which needs a token."""

    async def begin(self, token: str | None) -> None:
        await self.start(admin_listen=("tcp:0:interface=127.0.0.1",), admin_token=token)
        port = await self.daemons[-1].parts.ports.services[1]._waitingForPort
        self.remote = Client(reactor, port.getHost().port)
        self.addCleanup(self.remote.close)

    @running
    async def test_token(self) -> None:
        """The page asks for a password, the API does not; both accept it."""
        await self.begin(TOKEN)
        got = await self.remote.get("/")
        self.assertEqual(401, got.status)
        self.assertIn("Basic realm=", got.headers["www-authenticate"])
        for path in ("/", "/api/v1/status"):
            self.assertEqual(200, (await self.remote.get(path, Authorization=BASIC)).status)
            head = await self.remote.get(path, "HEAD", Authorization=BASIC)
            self.assertEqual(200, head.status)
        got = await self.remote.get("/api/v1/status")
        self.assertEqual((401, True), (got.status, "Bearer" in got.headers["www-authenticate"]))
        self.assertNotIn("Basic", got.headers["www-authenticate"])
        for path in ("/metrics", "/healthz", "/readyz"):
            self.assertEqual(200, (await self.remote.get(path)).status)
        self.assertEqual(404, (await self.remote.get("/nothing", Authorization=BASIC)).status)

    @running
    async def test_without_token(self) -> None:
        """Without a token the page says what to set."""
        await self.begin(None)
        got = await self.remote.get("/")
        self.assertEqual(403, got.status)
        self.assertIn("--admin-token-file", read_html(got.body).text)

    @running
    async def test_events(self) -> None:
        """A page gets the events with the password; one of another site gets nothing by it."""
        await self.begin(TOKEN)
        stream = await self.remote.begin("/api/v1/events?kind=sweep", Authorization=BASIC)
        await stream.got_headers
        self.assertEqual(200, stream.status)
        self.daemons[-1].parts.events.record("sweep", phase="begun")
        await until(lambda: len(events_of(stream)) == 1)
        stream.close()
        for sent in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
            for path, method in (("/api/v1/events", "GET"), ("/api/v1/sweep", "POST")):
                got = await self.remote.get(path, method, Authorization=BASIC, **sent)
                self.assertEqual(403, got.status)
