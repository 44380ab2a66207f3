"""Commands that reach a running daemon."""

from __future__ import annotations

import json
import re
import socket
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from oci_registry.admin.local import NAME
from oci_registry.commands.main import run
from oci_registry.commands.problems import CommandFailed
from oci_registry.commands.remote import AdminClient
from tests.support.admin import held_download
from tests.support.bundles import Ran, command
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_replies import Reply

TOKEN = "0123456789-abcdefghij"


class Commands(MirrorTestCase):
    """A daemon in this process that has pulled an image; commands are run in threads."""

    async def serve(self, **settings: Any) -> None:
        """Start the daemon, and pull an image."""
        self.registry.add_image("library/app", "1")
        daemon = await self.start(**settings)
        await self.client.get("/v2/library/app/manifests/1")
        await until(lambda: not len(daemon.parts.records))

    async def command(self, *args: object, root: bool = True) -> Ran:
        """Run a command for the store."""
        more = ("--root", self.root) if root else ()
        ran: Ran = await deferToThread(command, *args, *more)
        return ran

    @running
    async def test_by_socket(self) -> None:
        """The daemon of the store answers, and changes it itself."""
        await self.serve()
        ran = await self.command("ls", "--json")
        (image,) = json.loads(ran.out)["images"]
        self.assertEqual("docker.io/library/app:1", image["name"])
        for args, status in (
            (("show", "app:1"), 0),
            (("show", "nothing:1"), 3),
            (("du",), 0),
            (("pin", "app:1"), 0),
            (("rm", "app:1"), 1),
            (("unpin", "app:1"), 0),
            (("refresh", "app:1"), 0),
            (("rm", "app:1"), 0),
            (("rm", "app:1"), 3),
        ):
            ran = await self.command(*args)
            self.assertEqual(status, ran.status, (args, ran))
        self.registry.script("/manifests/", Reply(404, body=b""))
        self.assertEqual(404, (await self.client.get("/v2/library/app/manifests/1")).status)

    @running
    async def test_why(self) -> None:
        """Of a running daemon, the health of the registry is known too."""
        await self.serve()
        ran = await self.command("why", "app:1", "--json")
        self.assertEqual(0, ran.status, ran.err)
        self.assertEqual("docker.io", json.loads(ran.out)["upstream"]["name"])
        lines = (await self.command("why", "app:1")).out.splitlines()
        self.assertIn("  registry: docker.io", lines)
        self.assertIn(f"    host {self.registry.host}: available", lines)
        self.assertTrue(any(re.fullmatch(r"  size: .* in 0 of 1 blobs", each) for each in lines))
        # Of an image that cannot be had, that is what one wants to know.
        self.registry.script("/manifests/", Reply(500))
        await self.time.hurry(self.client.get("/v2/library/other/manifests/1"))
        ran = await self.command("why", "other:1")
        self.assertEqual(3, ran.status)
        self.assertRegex(ran.out, r"\n      last error [0-9.]+ s ago: .*500")

    @running
    async def test_by_url(self) -> None:
        """A daemon elsewhere is reached with the token, and not without it."""
        file = self.root.parent / "token"
        file.write_text(TOKEN)
        file.chmod(0o600)
        await self.serve(admin_listen=("tcp:0:interface=127.0.0.1",), admin_token=TOKEN)
        port = await self.daemons[-1].parts.ports.services[1]._waitingForPort  # type: ignore[attr-defined]
        url = f"http://127.0.0.1:{port.getHost().port}"
        where = ("--admin", url, "--admin-token-file", file)
        self.assertEqual(0, (await self.command("show", "app:1", *where, root=False)).status)
        ran = await self.command("ls", "--admin", url, root=False)
        self.assertEqual(1, ran.status)
        self.assertIn("--admin-token-file", ran.err)
        file.write_text("another-token-0123456789")
        ran = await self.command("top", *where, root=False)
        self.assertIn("the token is wrong", ran.err)
        self.assertNotIn("another-token", ran.err)
        ran = await self.command("ls", *where)
        self.assertEqual(2, ran.status)

    @running
    async def test_top(self) -> None:
        """Top shows a running download, in lines or as JSON."""
        _, gate, pulling = await held_download(self)
        (line,) = (await self.command("top")).out.splitlines()
        cells = line.split("\t")
        self.assertEqual("docker.io/team/app", cells[0])
        self.assertEqual(("receiving", "40 %", "1"), (cells[2], cells[3], cells[6]))
        document = json.loads((await self.command("top", "--json")).out)
        self.assertEqual(200_000, document["transfers"][0]["received"])
        gate.callback(None)
        await pulling.done
        await self.idle()
        self.assertEqual("", (await self.command("top")).out)

    @running
    async def test_log(self) -> None:
        """Log follows pulls, in lines or as JSON."""
        await self.serve()
        for more in ((), ("--json",)):
            out = StringIO()
            args = ["--root", str(self.root), "--kind", "pull", "--count", "1", *more]
            ended = deferToThread(run, "log", args, {}, out, StringIO())
            await until(lambda: len(self.daemons[-1].parts.streams) == 1)
            await self.client.get("/v2/library/app/manifests/1")
            self.assertEqual(0, await ended)
            await until(lambda: not len(self.daemons[-1].parts.streams))
            line = out.getvalue()
            self.assertEqual(1, line.count("\n"))
            if more:
                self.assertEqual(200, json.loads(line)["fields"]["status"])
            else:
                self.assertIn("pull 127.0.0.1 GET /v2/library/app/manifests/1 200", line)

    @running
    async def test_log_at_stop(self) -> None:
        """Log ends when the daemon stops, and says so."""
        await self.serve()
        err = StringIO()
        ended = deferToThread(run, "log", ["--root", str(self.root)], {}, StringIO(), err)
        await until(lambda: len(self.daemons[-1].parts.streams) == 1)
        await self.stop()
        self.assertEqual(1, await ended)
        self.assertIn("the daemon has ended the stream", err.getvalue())

    @running
    async def test_sweep(self) -> None:
        """Sweep waits for the end of the sweep."""
        await self.serve()
        ran = await self.command("sweep", "--json")
        self.assertEqual(0, ran.status, ran.err)
        self.assertFalse(json.loads(ran.out)["running"])


class WithoutDaemon(TestCase):
    """A store that no daemon has."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def test_nobody(self) -> None:
        """What needs a daemon says that there is none; a socket that is left over is none."""
        for leave in (False, True):
            if leave:
                with socket.socket(socket.AF_UNIX) as left:
                    left.bind(str(self.root / NAME))
            for name in ("top", "log", "sweep"):
                ran = command(name, "--root", self.root)
                self.assertEqual(1, ran.status)
                self.assertIn("no daemon runs", ran.err)
            self.assertEqual(0, command("ls", "--root", self.root).status)

    def test_bad_urls(self) -> None:
        """What is no URL of a daemon is wrong usage; what does not answer is said."""
        for url in (
            "x",
            "ftp://x",
            "http://",
            "http://u:p@x",
            "http://x/?y",
            "http://x:y",
            "unix:",
        ):
            ran = command("top", "--admin", url)
            self.assertEqual(2, ran.status, url)
            self.assertNotIn("u:p", ran.err)
        ran = command("top", "--admin", f"unix:{self.root / 'no.sock'}")
        self.assertEqual(1, ran.status)
        self.assertIn("did not answer", ran.err)

    def test_silent_stream(self) -> None:
        """A stream on which nothing comes is given up, and the message says so."""
        place = str(self.root / "s.sock")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(place)
            server.listen(1)

            def answer() -> None:
                peer, _ = server.accept()
                with peer:
                    peer.recv(65536)
                    peer.sendall(b'HTTP/1.1 200 OK\r\n\r\ndata: {"kind": "pull"}\n\n')
                    peer.recv(1)

            one = Thread(target=answer)
            one.start()
            # Long enough for the first event to come on a busy machine.
            events = AdminClient("there", place, silence=2.0).events("/events")
            self.assertEqual({"kind": "pull"}, next(events))
            error = self.assertRaises(CommandFailed, next, events)
            self.assertEqual("the daemon at there has sent nothing for 2 seconds", str(error))
            one.join()

    def test_strange_server(self) -> None:
        """An answer that is not ours is an error, and not a traceback."""
        for raw in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 500 Oh\r\nContent-Length: 15\r\n\r\n" + b'{"errors": "x"}',
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
            b"nonsense\r\n\r\n",
            b"",
        ):
            place = self.root / "s.sock"
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(place))
                server.listen(1)

                def answer(server: socket.socket = server, raw: bytes = raw) -> None:
                    peer, _ = server.accept()
                    with peer:
                        peer.recv(65536)
                        peer.sendall(raw)

                one = Thread(target=answer)
                one.start()
                ran = command("top", "--admin", f"unix:{place}")
                one.join()
            place.unlink()
            self.assertEqual(1, ran.status, raw)
            self.assertTrue(ran.err.startswith("oci-registry top: "), ran.err)
            self.assertNotIn("Traceback", ran.err)
