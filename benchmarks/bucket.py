"""A bucket for measurements: the part of S3 that the daemon uses, from memory, without a look at signatures.

It is not to be the bottleneck: bytes go from and to anonymous files, without passing through Python.
Run as a process it prints its port and serves until killed.
"""

from __future__ import annotations

import os
import re
import socket
import socketserver
import time
from email.utils import formatdate
from itertools import count
from threading import Lock
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from attrs import define, field, frozen

_BLOCK = 1024 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@frozen
class Part:
    """Bytes in a file that has no name."""

    descriptor: int
    size: int


@define
class Stored:
    """An object: its parts in order."""

    parts: list[Part]
    etag: str
    metadata: dict[str, str]
    modified: float = field(factory=time.time)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return sum(part.size for part in self.parts)

    def forget(self) -> None:
        """Give the memory back."""
        for part in self.parts:
            os.close(part.descriptor)


@define
class Upload:
    """An upload in parts."""

    key: str
    metadata: dict[str, str]
    parts: dict[int, Part] = field(factory=dict)


class _Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status


@define
class State:
    """What the bucket holds. Any bucket's name leads to the same one."""

    objects: dict[str, Stored] = field(factory=dict)
    uploads: dict[str, Upload] = field(factory=dict)
    lock: Lock = field(factory=Lock)
    numbers: count[int] = field(factory=count)

    def etag(self) -> str:
        """Return a new etag, or the name of an upload."""
        return f"{next(self.numbers):032x}"

    def place(self, key: str, stored: Stored, condition: str) -> None:
        """Make an object visible, if there is none or *condition* does not mind."""
        with self.lock:
            if condition == "*" and key in self.objects:
                raise _Refused(412, "PreconditionFailed")
            self.objects[key] = stored

    def listing(self, query: dict[str, str]) -> str:
        """Return one page with everything below a prefix."""
        prefix = query.get("prefix", "")
        with self.lock:
            found = sorted((k, o) for k, o in self.objects.items() if k.startswith(prefix))
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{stored.size}</Size><ETag>{stored.etag}</ETag>"
            f"<LastModified>{_iso(stored.modified)}</LastModified></Contents>"
            for key, stored in found
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"


def _iso(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when))


class _Handler(socketserver.BaseRequestHandler):
    """One connection."""

    state: State
    request: socket.socket

    def handle(self) -> None:
        """Answer requests until the client leaves."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        try:
            while self._answer():
                pass
        except OSError:
            # The client has left.
            return

    def _answer(self) -> bool:
        data = self._rest
        while b"\r\n\r\n" not in data:
            more = self.request.recv(65536)
            if not more:
                return False
            data += more
        head, _, self._rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        url = urlsplit(target)
        self.query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        self.key = unquote(url.path).lstrip("/").partition("/")[2]
        if "100-continue" in self.headers.get("expect", "").lower():
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._receive(int(self.headers.get("content-length", 0)))
        try:
            getattr(self, f"do_{self.method}")(body)
        except _Refused as error:
            text = f"<Error><Code>{error}</Code><Message>no</Message></Error>"
            self._reply(error.status, text if self.method != "HEAD" else "")
        return True

    def _receive(self, size: int) -> Part:
        """Take the body of a request into a file of its own."""
        descriptor = os.memfd_create("object")
        first, self._rest = self._rest[:size], self._rest[size:]
        os.write(descriptor, first)
        left = size - len(first)
        buffer = memoryview(bytearray(min(left, _BLOCK)))
        while left:
            got = self.request.recv_into(buffer, min(left, _BLOCK))
            if not got:
                raise ConnectionError("closed in the middle")
            os.write(descriptor, buffer[:got])
            left -= got
        return Part(descriptor, size)

    def _reply(self, status: int, text: str = "", **headers: object) -> None:
        self._head(status, len(text.encode()), headers)
        self.request.sendall(text.encode())

    def _head(self, status: int, length: int, headers: dict[str, object]) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if status != 204:
            lines.append(f"Content-Length: {length}")
        self.request.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def _metadata(self) -> dict[str, str]:
        return {k: v for k, v in self.headers.items() if k.startswith("x-amz-meta-")}

    def _found(self) -> Stored:
        stored = self.state.objects.get(self.key)
        if stored is None:
            raise _Refused(404, "NoSuchKey")
        if self.headers.get("if-match", stored.etag) != stored.etag:
            raise _Refused(412, "PreconditionFailed")
        return stored

    def do_HEAD(self, body: Part) -> None:
        """Tell of an object."""
        os.close(body.descriptor)
        stored = self._found()
        self._head(200, stored.size, self._about(stored))

    def _about(self, stored: Stored) -> dict[str, object]:
        modified = formatdate(stored.modified, usegmt=True)
        return {"ETag": stored.etag, "Last-Modified": modified, **stored.metadata}

    def do_GET(self, body: Part) -> None:
        """Send an object, or a range of it, or a listing."""
        os.close(body.descriptor)
        if not self.key:
            empty = "uploads" in self.query
            text = "<ListMultipartUploadsResult/>" if empty else self.state.listing(self.query)
            self._reply(200, text)
            return
        stored = self._found()
        start, stop, status = 0, stored.size, 200
        headers = self._about(stored)
        match = _RANGE.fullmatch(self.headers.get("range", ""))
        if match:
            start, status = int(match[1]), 206
            stop = min(stop, int(match[2] or stop) + 1)
            if start >= stop:
                raise _Refused(416, "InvalidRange")
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
        self._head(status, stop - start, headers)
        for part in stored.parts:
            at, end = max(start, 0), min(stop, part.size)
            while at < end:
                at += os.sendfile(self.request.fileno(), part.descriptor, at, end - at)
            start, stop = start - part.size, stop - part.size

    def do_PUT(self, body: Part) -> None:
        """Take an object, or a part of one. To copy is to change the metadata."""
        if "uploadId" in self.query:
            self.state.uploads[self.query["uploadId"]].parts[int(self.query["partNumber"])] = body
            self._reply(200, ETag=f'"{self.state.etag()}"')
            return
        stored = Stored([body], f'"{self.state.etag()}"', self._metadata())
        if self.key:
            self.state.place(self.key, stored, self.headers.get("if-none-match", ""))
        self._reply(200, ETag=stored.etag)

    def do_POST(self, body: Part) -> None:
        """Begin or complete an upload in parts, or remove many objects."""
        text = os.pread(body.descriptor, body.size, 0).decode()
        os.close(body.descriptor)
        if "delete" in self.query:
            for key in re.findall("<Key>(.*?)</Key>", text):
                self._remove(key)
            self._reply(200, "<DeleteResult/>")
        elif "uploads" in self.query:
            upload = self.state.etag()
            self.state.uploads[upload] = Upload(self.key, self._metadata())
            self._reply(200, f"<R><UploadId>{upload}</UploadId></R>")
        else:
            parts = self.state.uploads.pop(self.query["uploadId"])
            ordered = [part for _, part in sorted(parts.parts.items())]
            stored = Stored(ordered, f'"{self.state.etag()}"', parts.metadata)
            self.state.place(self.key, stored, self.headers.get("if-none-match", ""))
            self._reply(200, f"<R><ETag>{stored.etag}</ETag></R>")

    def do_DELETE(self, body: Part) -> None:
        """Remove an object, or give up an upload."""
        os.close(body.descriptor)
        self.state.uploads.pop(self.query.get("uploadId", ""), None)
        if "uploadId" not in self.query:
            self._remove(self.key)
        self._reply(204)

    def _remove(self, key: str) -> None:
        with self.state.lock:
            stored = self.state.objects.pop(key, None)
        if stored is not None:
            stored.forget()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until killed; print the port."""
    _Handler.state = State()
    server = _Server(("127.0.0.1", 0), _Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
