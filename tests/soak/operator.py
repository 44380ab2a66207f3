"""The operator of the soak, who removes, pins, holds, refreshes and warms images all the time."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

from attrs import evolve

from oci_registry.spec.digest import Digest
from tests.soak.admin import Admin
from tests.soak.client import Puller
from tests.soak.getting import PullFailed
from tests.soak.images import EDGE, Image, Images
from tests.soak.watching import NAMESPACE, Kept

MOST_PINS, MOST_HOLDS = 4, 3
_RECENT = 40
_CHOICES = {
    "remove": 8,
    "remove kept": 2,
    "pin": 3,
    "unpin": 2,
    "refresh": 3,
    "hold": 3,
    "roll back": 1,
    "release": 2,
    "sweep": 1,
    "ask": 4,
}
_FAILED_UPSTREAM = (502, 503, 504)
_NOTHING = 3
"""The status of `rm` if the image is not stored."""


class Operator:
    """Does one thing after the other, each counted in *counts*; `wrong` has what must not be.

    *kept*: is told what must stay. *client*: pulls what the operator wants to have. *url*: where clients pull.
    """

    def __init__(
        self,
        admin: Admin,
        images: Images,
        random: Random,
        counts: Counter[str],
        kept: Kept,
        client: Puller,
        url: str,
    ) -> None:
        self.wrong: list[str] = []
        self.held: dict[str, Digest] = {}
        """What the moving tags of repositories are held at, from the answer to the question for it."""
        self.unfinished: set[Digest] = set()
        """Images that a warm or a hold may have fetched only in part."""
        self._admin = admin
        self._images = images
        self._random = random
        self._counts = counts
        self._kept = kept
        self._client = client
        self._url = url
        self._holding: set[str] = set()
        self._moving = [one for one in images.images if images.edge(one.repository, 0.0)]

    async def act(self) -> None:
        """Do one thing."""
        (what,) = self._random.choices(list(_CHOICES), list(_CHOICES.values()))
        act = {
            "remove": self._remove,
            "remove kept": self._remove_kept,
            "pin": self._pin,
            "unpin": self._unpin,
            "refresh": self._refresh,
            "hold": self._hold,
            "roll back": self._roll_back,
            "release": self._release,
            "sweep": self._sweep,
            "ask": self._ask,
        }[what]
        await act()

    async def command(self) -> None:
        """Run a command, which takes longer."""
        await self._random.choice((self._warm, self._warm, self._remove_by_command))()

    def _image(self) -> Image:
        """Return an image that is as likely to be stored as not."""
        return self._random.choice(self._images.images[: self._random.choice((_RECENT, 200))])

    async def _stored(self) -> tuple[str, Digest]:
        """Return name and digest of a tag that is stored, or of any if none is."""
        _, page = await self._call("GET", "/images", 200, counted="questions", limit=500)
        images = [one for one in page["images"] if one["tag"] is not None]
        if not images:
            image = self._image()
            return f"{image.repository}:{image.tag}", image.digest
        found = self._random.choice(images)
        return found["name"].removeprefix(f"{NAMESPACE}/"), Digest.parse(found["digest"])

    async def _call(
        self, method: str, path: str, *expected: int, counted: str, **values: Any
    ) -> tuple[int, Any]:
        status, answer = await self._admin.call(method, path, **values)
        self._counts[counted] += status < 300
        if status not in expected:
            self.wrong.append(f"{method} {path} {values}: {status} {answer}")
        return status, answer

    # -- removals

    async def _remove(self) -> None:
        name, digest = await self._stored()
        by_digest = self._random.random() < 0.3
        if by_digest:
            name = f"{name.rpartition(':')[0]}@{digest}"
        blobs = "true" if self._random.random() < 0.5 else "false"
        # By digest, all tags go that mean it, and one of them may be pinned or held.
        kept = name in self._kept.names() or (by_digest and digest in self._kept.digests())
        expected = (404, 409) if kept else (200, 404)
        _, answer = await self._call(
            "DELETE", "/image", *expected, counted="removals", image=name, blobs=blobs
        )
        self._counts["removed blobs"] += len((answer or {}).get("blobs", ()))

    async def _remove_kept(self) -> None:
        names = self._kept.names()
        if names:
            name = self._random.choice(names)
            status, _ = await self._call(
                "DELETE", "/image", 404, 409, counted="removals of what is kept", image=name
            )
            self._counts["refused removals"] += status == 409

    async def _remove_by_command(self) -> None:
        name, _ = await self._stored()
        if name not in self._kept.names():
            words = ["--blobs"] if self._random.random() < 0.5 else []
            ended = await self._command("rm", (0, _NOTHING), name, *words)
            self._counts["removals by command"] += ended == 0

    # -- what is kept

    def _pins(self) -> list[str]:
        return [one for one in self._kept.names() if not one.endswith(f":{EDGE}")]

    async def _pin(self) -> None:
        image = self._image()
        name = f"{image.repository}:{image.tag}"
        pins = self._pins()
        if len(pins) < MOST_PINS and name not in pins:
            status, _ = await self._call("POST", "/pins", 200, counted="pins", image=name)
            if status == 200:
                self._kept.add(name, image)
                # There may be no room for it now.
                self.unfinished.add(image.digest)
                await self._client.pull(image)

    async def _unpin(self) -> None:
        pins = self._pins()
        if pins:
            name = self._random.choice(pins)
            self._kept.remove(name)
            await self._call("DELETE", "/pins", 200, counted="unpinned", image=name)

    async def _hold(self, what: str = "hold") -> None:
        image = self._random.choice(self._moving)
        repository, name = image.repository, f"{image.repository}:{EDGE}"
        if len(self._holding) >= MOST_HOLDS or repository in self._holding:
            return
        # Only a tag that was pulled can be held.
        with suppress(PullFailed):
            await self._client.moving(image)
        status, answer = await self._call(
            "POST", f"/{what}", 200, 404, 409, *_FAILED_UPSTREAM, counted=f"{what}s", image=name
        )
        if status == 200:
            digest = Digest.parse(answer["digest"])
            found = self._images.by_digest(digest)
            if found is None:
                self.wrong.append(f"{what} {name}: {digest} is of none of the images")
                return
            self._holding.add(repository)
            self.held[repository] = digest
            self.unfinished.add(digest)
            self._kept.add(name, evolve(found, repository=repository, tag=EDGE))

    async def _roll_back(self) -> None:
        await self._hold("rollback")

    async def _release(self) -> None:
        if self._holding:
            repository = self._random.choice(sorted(self._holding))
            name = f"{repository}:{EDGE}"
            del self.held[repository]
            self._kept.remove(name)
            self._holding.remove(repository)
            await self._call(
                "POST", "/release", 200, *_FAILED_UPSTREAM, counted="releases", image=name
            )

    # -- the rest

    async def _refresh(self) -> None:
        name, _ = await self._stored()
        await self._call("POST", "/refresh", 200, 404, counted="refreshed", image=name)

    async def _warm(self) -> None:
        images = [self._image() for _ in range(self._random.randrange(1, 4))]
        names = [f"{NAMESPACE}/{one.repository}:{one.tag}" for one in images]
        ended = await self._admin.command("warm", "--url", self._url, *names)
        self._counts["warmed images"] += len(names)
        if ended.status:
            self._counts["warms that failed"] += 1
            self.unfinished |= {image.digest for image in images}
        if ended.status not in (0, 1) or "Traceback" in ended.output:
            self.wrong.append(f"warm {names}: {ended.status} {ended.output[-500:]}")

    async def _sweep(self) -> None:
        await self._call("POST", "/sweep", 202, counted="sweeps")

    async def _ask(self) -> None:
        name, _ = await self._stored()
        path, values = self._random.choice(
            [
                ("/images", {}),
                ("/usage", {}),
                ("/status", {}),
                ("/top", {}),
                ("/upstreams", {}),
                ("/why", {"image": name}),
                ("/image", {"image": name}),
                ("/history", {"image": name}),
            ]
        )
        await self._call("GET", path, 200, 404, counted="questions", **values)

    async def _command(self, name: str, expected: tuple[int, ...], *words: str) -> int:
        ended = await self._admin.on_store(name, *words)
        if ended.status not in expected or "Traceback" in ended.output:
            self.wrong.append(f"{name} {' '.join(words)}: {ended.status} {ended.output[-500:]}")
        return ended.status
