"""What is left in the end, without the upstream: every tag that still answers is pulled whole."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from attrs import Factory, define
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from oci_registry.spec.digest import Digest
from tests.soak.getting import Compared, Getter
from tests.soak.images import EDGE, Image, Images

_PARALLEL = 16


@define
class Afterwards:
    """*answered*: tags that still answer; *whole*: those of them that were pulled whole.

    *excused*: those that are not whole since a damaged blob of theirs could not be fetched again.
    *incomplete*: what is missing of the others.
    """

    answered: int = 0
    whole: int = 0
    excused: int = 0
    incomplete: list[str] = Factory(list)


class Remains:
    """Pulls every tag once, and sends nothing again. *lost*: the blobs of which no more can be expected."""

    def __init__(self, getter: Getter, images: Images, lost: Iterable[Digest]) -> None:
        self._getter = getter
        self._images = images
        self._lost = frozenset(lost)
        self.found = Afterwards()

    async def pull_all(self, random: Random) -> None:
        """Pull all tags, some at a time."""
        tags = [(one.repository, one.tag) for one in self._images.images]
        tags += [(name, EDGE) for name, _ in tags if self._images.edge(name, 0.0)]
        random.shuffle(tags)
        parallel = DeferredSemaphore(_PARALLEL)

        def begin(tag: tuple[str, str]) -> Deferred[None]:
            return Deferred.fromCoroutine(self._pull(*tag))

        await gatherResults([parallel.run(begin, tag) for tag in tags])

    async def _pull(self, repository: str, tag: str) -> None:
        base = f"/v2/{repository}"
        head = await self._getter.answer(f"{base}/manifests/{tag}", "HEAD", bytearray())
        if head.status != 200:
            return
        self.found.answered += 1
        digest = Digest.parse(head.headers["docker-content-digest"])
        image = self._images.by_digest(digest)
        if image is None:
            self.found.incomplete.append(f"{repository}:{tag}: {digest} is of none of the images")
            return
        missing = await self._missing(base, image)
        if not missing:
            self.found.whole += 1
        elif missing <= {str(blob) for blob in self._lost}:
            self.found.excused += 1
        else:
            self.found.incomplete.append(f"{repository}:{tag}: {', '.join(sorted(missing))}")

    async def _missing(self, base: str, image: Image) -> set[str]:
        """Return the digests of what is not there as it should be."""
        wanted: list[tuple[str, Digest, Any]] = [("manifests", image.digest, image.manifest)]
        wanted += [("blobs", blob, self._images.content(blob)) for blob in image.blobs]
        missing = set()
        for kind, digest, content in wanted:
            body = Compared(memoryview(content))
            response = await self._getter.answer(f"{base}/{kind}/{digest}", "GET", body)
            right = response.complete and body.right and len(body) == len(content)
            if response.status != 200 or not right:
                missing.add(str(digest))
        return missing
