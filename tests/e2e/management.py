"""What operators do with a running daemon that has workers, and what clients see of it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.checks import Checks
from tests.e2e.clients import Containerd, Skopeo, compare, run
from tests.e2e.images import OCI_INDEX, OCI_MANIFEST, Image, Pusher
from tests.e2e.servers import COMMAND, Mirror, Processes, Upstreams
from tests.support.ports import free_port

#: An upstream whose tags have a minimum age, and are revalidated by each pull.
AGED = "aged.example"
TOKEN = "token-of-an-end-to-end-run"
WORKERS = 2
CAP = 16 * 1024 * 1024
CORRUPT_FOUND = 3


class Management:
    """The commands and the admin API, with skopeo and containerd as witnesses."""

    def __init__(
        self,
        processes: Processes,
        checks: Checks,
        upstreams: Upstreams,
        mirror: Mirror,
        skopeo: Skopeo,
        containerd: Containerd,
    ) -> None:
        self._work, self._log = processes.work, processes.log(mirror.name)
        self._checks, self._upstreams, self._mirror = checks, upstreams, mirror
        self._skopeo, self._containerd = skopeo, containerd
        self._pusher = Pusher(upstreams.host("open"))
        self._root = self._work / "cache-managed"
        self._bundle = self._work / "bundle.tar"
        self._admin = f"127.0.0.1:{free_port()}"
        self._token = self._work / "admin-token"

    def play(self) -> None:
        """Do everything."""
        check = self._checks.check
        self._token.write_text(TOKEN)
        self._token.chmod(0o600)
        app, other = self._pushed("managed/app"), self._pushed("managed/other")
        self._pusher.index("managed/warmed", "1", OCI_INDEX, OCI_MANIFEST)
        warmed = self._pusher.find("docker.io", "managed/warmed")
        admin = ("--admin-listen", self._admin, "--admin-token-file", str(self._token))
        self._start(self._root, *admin)
        check("ls, show, du and why after a pull by skopeo", self._seen, app)
        check("rm: the next pull asks the registry", self._removed, app)
        check("workers have answered", self._answered_by_workers, app)
        check("admin API on TCP, with the token and without", self._api, app)
        check("DELETE /_admin of mcronce/oci-registry", self._deleted, other)
        check("tags: minimum age, adopt, rollback, release and hold", self._tags)
        check("scrub: a flipped byte", self._scrubbed, app)
        check("warm", self._warm, warmed)
        self._upstreams.stop()
        check("skopeo: what warm has fetched, every upstream down", self._copied, warmed)
        check("export: an OCI layout that skopeo reads", self._exported, warmed)
        self._mirror.stop()
        check("import, then containerd, offline", self._imported, warmed)
        self._upstreams.start()
        check("pin, and more than --max-size", self._pinned)
        self._mirror.stop()

    def _start(self, root: Path, *options: str) -> None:
        self._mirror.start("filesystem", "--root", str(root), options=options, workers=WORKERS)

    def _pushed(self, repository: str, tag: str = "1", layers: int = 2) -> Image:
        self._pusher.image(repository, tag, OCI_MANIFEST, layers=layers)
        return self._pusher.find("docker.io", repository, tag)

    def _do(self, command: str, *arguments: str, status: int = 0) -> Any:
        """Run a command beside the daemon; return its document."""
        at = ("--json", "--root", str(self._root))
        done = subprocess.run(
            (COMMAND, command, *at, *arguments),
            timeout=120,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stderr[-1500:]}"
        return json.loads(done.stdout)

    def _asked(self) -> int:
        """Return how many requests the registries have answered, once they have logged them."""
        count = -1
        while count != (count := self._upstreams.requests()):
            time.sleep(0.2)
        return count

    def _copied(self, image: Image) -> None:
        self._skopeo.pull(image, image.tagged)

    def _listed(self, image: Image) -> Any:
        found = self._do("ls", image.tagged)["images"]
        assert [each["name"] for each in found] == [image.tagged], found
        assert found[0]["digest"] == image.digest, found
        return found[0]

    def _seen(self, image: Image) -> None:
        self._copied(image)
        until(lambda: self._is_complete(image))
        assert self._listed(image)["complete"]
        manifest = self._do("show", image.tagged)["manifest"]
        stored = {blob["digest"] for blob in manifest["blobs"] if blob["stored"]}
        assert stored | {manifest["digest"]} == image.contents, manifest
        usage = self._do("du")["repositories"]
        mine = [each for each in usage if each["repository"] == image.repository]
        assert mine and mine[0]["images"] == 1, usage
        assert mine[0]["unique"] + mine[0]["shared"] > 300_000, usage
        why = self._do("why", image.tagged)
        assert why["digest"] == image.digest and why["reasons"] and why["upstream"], why

    def _removed(self, image: Image) -> str:
        self._copied(image)
        before = self._asked()
        self._copied(image)
        assert self._asked() == before, "it was not served from the store"
        (gone,) = self._do("rm", "--blobs", image.tagged)["removed"]
        assert {*gone["manifests"], *gone["blobs"]} == image.contents, gone
        self._do("show", image.tagged, status=3)
        self._copied(image)
        asked = self._asked() - before
        assert asked >= len(image.contents), f"{asked} requests reached an upstream"
        until(lambda: self._is_complete(image))
        return f"{asked} requests"

    def _answered_by_workers(self, image: Image) -> None:
        """See a worker answer: those who ask again within a second are not handed on."""

        def answered() -> bool:
            for _ in range(4):
                assert self._skopeo.digest(f"docker://{image.tagged}") == image.digest
            return " worker=" in self._log.read_text()

        until(answered)

    def _request(
        self, method: str, address: str, path: str, token: str | None
    ) -> tuple[int, bytes]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"http://{address}{path}", None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def _is_complete(self, image: Image) -> bool:
        """Whether all of an image is stored: what the command knows too, but in much less time."""
        path = f"/api/v1/image?image={image.tagged}"
        status, body = self._request("GET", self._admin, path, TOKEN)
        return status == 200 and bool(json.loads(body)["image"]["complete"])

    def _api(self, image: Image) -> None:
        path = f"/api/v1/image?image={image.tagged}"
        for token, status in ((None, 401), ("not-the-token-at-all", 401), (TOKEN, 200)):
            got, _ = self._request("GET", self._admin, path, token)
            assert got == status, f"{got} with {token}"
        got, _ = self._request("GET", self._mirror.address, path, TOKEN)
        assert got == 404, f"{got} at the port for clients"
        away = ("--admin", f"http://{self._admin}", "--admin-token-file", str(self._token))
        told = json.loads(run(COMMAND, "ls", "--json", *away, image.tagged))["images"]
        assert told[0]["digest"] == image.digest, told

    def _deleted(self, image: Image) -> None:
        self._copied(image)
        until(lambda: self._is_complete(image))
        path = f"/_admin/{image.repository}/manifests/{image.tag}?ns={image.host}"
        for address, token, status in (
            (self._mirror.address, TOKEN, 405),
            (self._admin, None, 401),
            (self._admin, TOKEN, 200),
            (self._admin, TOKEN, 404),
        ):
            got, _ = self._request("DELETE", address, path, token)
            assert got == status, f"{got} from {address}"
        before = self._asked()
        self._copied(image)
        assert self._asked() > before, "it was served all the same"

    def _served(self, reference: str, digest: str) -> None:
        """See, through skopeo, a tag mean a digest: not at once, since workers may be lent an answer."""
        until(lambda: self._skopeo.digest(f"docker://{reference}") == digest)

    def _tags(self) -> None:
        repository = "managed/tags"
        old = self._pushed(repository, layers=2).digest
        name = f"{AGED}/{repository}:1"
        self._served(name, old)
        new = self._pushed(repository, layers=3).digest

        def waits() -> bool:
            # A pull asks the registry, which says something else now, unless a worker was lent the answer.
            served.add(self._skopeo.digest(f"docker://{name}"))
            return new in json.dumps(self._do("history", name))

        served: set[str] = set()
        until(waits)
        served.add(self._skopeo.digest(f"docker://{name}"))
        assert served == {old}, "it is too new"
        self._do("adopt", name)
        self._served(name, new)
        self._do("rollback", name)
        self._served(name, old)
        self._do("release", name)
        self._served(name, new)
        self._do("hold", f"{name}@{old}")
        self._served(name, old)

    def _scrubbed(self, image: Image) -> None:
        until(lambda: self._is_complete(image))
        shown = self._do("show", image.tagged)["manifest"]["blobs"]
        algorithm, _, value = max(shown, key=lambda each: each["size"])["digest"].partition(":")
        file = self._root / "blobs" / algorithm / value[:2] / value[2:]
        flip(file)
        found = self._do("scrub", "--rate", "0", status=CORRUPT_FOUND)
        assert found["corrupt"] == found["quarantined"] == found["refetched"] == 1, found
        until(file.exists)
        self._copied(image)
        clean = self._do("scrub", "--rate", "0")
        assert clean["blobs"] and not clean["corrupt"], clean

    def _warm(self, image: Image) -> None:
        url = f"http://{self._mirror.address}"
        told = json.loads(run(COMMAND, "warm", "--json", "--url", url, image.tagged))
        assert [each["state"] for each in told["images"]] == ["done"], told
        before = self._asked()
        run(COMMAND, "warm", "--json", "--url", url, image.tagged)
        assert self._asked() == before, "it was fetched twice"

    def _exported(self, image: Image) -> None:
        root = ("--root", str(self._root))
        run(COMMAND, "export", *root, "--output", str(self._bundle), image.tagged)
        target = self._work / "bundled"
        source = f"oci-archive:{self._bundle}:{image.tag}"
        self._skopeo.copy(source, target)
        compare((file for file in target.iterdir() if file.name != "version"), image)

    def _imported(self, image: Image) -> None:
        root = self._work / "cache-imported"
        run(COMMAND, "import", "--root", str(root), str(self._bundle))
        self._start(root, "--offline")
        self._containerd.start()
        try:
            self._containerd.pull(image, image.tagged)
        finally:
            self._containerd.stop()
            self._mirror.stop()

    def _complete(self) -> list[str]:
        """Return the names of the images of which all is stored."""
        return [each["name"] for each in self._do("ls")["images"] if each["complete"]]

    def _pinned(self) -> str:
        """Pin the first of six images that have no room together; it is the one that is sure to stay."""
        self._root = self._work / "cache-capped"
        self._start(self._root, "--max-size", f"{CAP}B")
        images = []
        for number in range(6):
            repository = f"managed/large{number}"
            self._pusher.image(repository, "1", OCI_MANIFEST, layers=4, size=1_300_000)
            images.append(self._pusher.find("docker.io", repository))
        self._do("pin", images[0].tagged)
        for image in images:
            self._copied(image)
        self._mirror.settle()
        until(lambda: self._do("du")["size"] <= CAP)
        complete, before = self._complete(), None
        while complete != before:
            # What was stored last may have begun a sweep that goes on.
            time.sleep(1)
            complete, before = self._complete(), complete
        assert images[0].tagged in complete, complete
        assert len(complete) < len(images), complete
        blobs = (self._root / "blobs").rglob("*")
        taken = sum(file.stat().st_blocks * 512 for file in blobs if file.is_file())
        assert taken <= CAP, f"{taken} bytes are stored"
        self._upstreams.stop()
        try:
            for image in images:
                if image.tagged in complete:
                    self._copied(image)
        finally:
            self._upstreams.start()
        return f"{len(complete)} of {len(images)} images stayed"


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something holds; AssertionError if it does not, with the last reason."""
    end = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
            reason = "it does not hold"
        except AssertionError as error:
            reason = str(error)
        assert time.monotonic() < end, reason
        time.sleep(0.1)


def flip(file: Path) -> None:
    """Flip one bit in the middle of a file, and leave its times and permissions alone."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(before.st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(before.st_size // 2)
        opened.write(bytes((byte ^ 1,)))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
