"""Daemons on buckets of a real S3 server: what is in the bucket, and what replicas do to each other."""

from __future__ import annotations

import hashlib
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from random import Random

from tests.e2e.ceph import ACCESS_KEY, SECRET_KEY, Ceph
from tests.e2e.checks import Checks
from tests.e2e.clients import Dockerd, run
from tests.e2e.images import OCI_MANIFEST, Image, Pusher, digest_of
from tests.e2e.servers import Mirror, Processes, Upstreams

REPLICAS = ("replica-1", "replica-2")
LARGE = 200_000_000
"""Bytes of a layer that goes up in parts, the last of which is not whole."""
PART = 16 * 1024 * 1024
_MODULES = (
    "tests.contract.test_s3",
    *(
        f"tests.integration.test_s3_{name}"
        for name in ("pulling", "redirect", "replicas", "sweeping", "trust", "uploading")
    ),
)


def storage(processes: Processes, cluster: Ceph, bucket: str, spool: str = "") -> tuple[str, ...]:
    """Return the arguments for a storage in a bucket, which is made unless it is there."""
    cluster.client().create_bucket(Bucket=bucket)
    secret = processes.work / "s3-secret"
    secret.write_text(f"{SECRET_KEY}\n")
    secret.chmod(0o600)
    return (
        *("s3", "--host", cluster.url, "--bucket", bucket, "--access-key", ACCESS_KEY),
        *("--secret-key-file", str(secret)),
        *("--spool", str(processes.work / f"spool-{spool or bucket}")),
    )


class Buckets:
    """Two daemons on one bucket after the other."""

    def __init__(
        self, processes: Processes, checks: Checks, upstreams: Upstreams, cluster: Ceph
    ) -> None:
        self._processes, self._checks, self._upstreams = processes, checks, upstreams
        self._cluster = cluster
        self._bucket = cluster.client()
        self._replicas = [Mirror(processes, upstreams, name) for name in REPLICAS]

    def play(self) -> None:
        """Do everything."""
        check = self._checks.check
        check("s3: the driver's own tests on this server", self._tests)
        pusher = Pusher(self._upstreams.host("open"))
        check("s3: a layer of 200 MB goes up in parts", self._large, pusher)
        check("s3: two daemons write each object once", self._once, pusher)
        check("s3: one of two daemons is killed", self._killed, pusher)

    def _tests(self) -> str:
        # The directory of the sources: trial finds the modules from there.
        told = run(
            *(sys.executable, "-m", "twisted.trial"),
            f"--temp-directory={self._processes.work}/trial",
            *_MODULES,
            timeout=300,
            environment={"TEST_S3_ENDPOINT": self._cluster.url},
        )
        return next(line for line in told.splitlines() if line.startswith("Ran "))

    def _start(self, bucket: str) -> None:
        for mirror in self._replicas:
            mirror.start(*storage(self._processes, self._cluster, bucket, mirror.name))

    def _stop(self) -> None:
        for mirror in self._replicas:
            status = mirror.stop()
            # twistd ends itself by the signal that ended it.
            assert status in (0, -15, None), f"exit status {status}"

    def _settle(self, *mirrors: Mirror) -> None:
        """Wait until everything that was downloaded is in the bucket."""
        for mirror in mirrors:
            mirror.settle()

    # -- what is in a bucket

    def _blobs(self, bucket: str) -> Iterator[str]:
        for page in self._bucket.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="blobs/"
        ):
            yield from (found["Key"] for found in page.get("Contents", ()))

    def _digest(self, bucket: str, key: str) -> str:
        body = self._bucket.get_object(Bucket=bucket, Key=key)["Body"]
        sha256 = hashlib.sha256()
        for piece in body.iter_chunks(1024 * 1024):
            sha256.update(piece)
        return f"sha256:{sha256.hexdigest()}"

    def _all_right(self, bucket: str) -> set[str]:
        """Return the digests of all blobs, each of which must be that of its key."""
        digests = set()
        for key in self._blobs(bucket):
            digest = self._digest(bucket, key)
            assert key == _key(digest), f"{key} holds {digest}"
            digests.add(digest)
        return digests

    def _uploads(self, bucket: str) -> list[str]:
        answer = self._bucket.list_multipart_uploads(Bucket=bucket)
        return [upload["Key"] for upload in answer.get("Uploads", ())]

    # -- what is checked

    def _large(self, pusher: Pusher) -> str:
        data = Random("large").randbytes(LARGE)
        digest = pusher.blob("library/large", data)
        self._start("large")
        try:
            for mirror in self._replicas:
                url = f"http://{mirror.address}/v2/library/large/blobs/{digest}"
                with urllib.request.urlopen(url, timeout=60) as answer:
                    assert digest_of(answer.read()) == digest, mirror.name
                self._settle(mirror)
            found = self._bucket.head_object(Bucket="large", Key=_key(digest))
            parts = -(-LARGE // PART)
            assert found["ETag"].endswith(f'-{parts}"'), found["ETag"]
            assert found["ContentLength"] == LARGE, found["ContentLength"]
            assert self._all_right("large") == {digest}
            assert not self._uploads("large"), self._uploads("large")
        finally:
            self._stop()
        return f"{parts} parts"

    def _once(self, pusher: Pusher) -> str:
        pusher.image("library/once", "1", OCI_MANIFEST, layers=30, size=200_000)
        image = pusher.find("docker.io", "library/once")
        self._start("once")
        try:
            with ThreadPoolExecutor(2) as pool:
                for pull in [pool.submit(_pull, [mirror], image) for mirror in self._replicas]:
                    pull.result()
            self._settle(*self._replicas)
            blobs = self._all_right("once")
            assert blobs == image.contents - {image.digest}, blobs
        finally:
            self._stop()
        counts: Counter[str] = Counter()
        refused = 0
        for digest in blobs:
            path = f"/once/{_key(digest)} HTTP"
            counts[digest] = len(self._cluster.answers("PUT", 200, path))
            refused += len(self._cluster.answers("PUT", 412, path))
        assert set(counts.values()) == {1}, counts
        return f"{len(blobs)} objects, {refused} refused as they were there"

    def _killed(self, pusher: Pusher) -> str:
        images = []
        for number in range(20):
            size = 34_000_000 if number % 2 else 1_000_000
            pusher.image(f"library/killed{number}", "1", OCI_MANIFEST, layers=2, size=size)
            images.append(pusher.find("docker.io", f"library/killed{number}"))
        survivor, victim = self._replicas
        self._start("killed")
        try:
            with ThreadPoolExecutor(2 * len(images)) as pool:
                orders = ([survivor, victim], [victim, survivor])
                pulls = [pool.submit(_pull, o, image) for image in images[:10] for o in orders]
                self._wait_for_both("killed")
                # Some are being uploaded now, and these are being downloaded a moment later.
                pulls += [pool.submit(_pull, o, image) for image in images[10:] for o in orders]
                time.sleep(0.3)
                # The uploads of before may be complete.
                self._wait_for_both("killed")
                self._processes.kill(victim.name)
                again = sum(pull.result(120) for pull in pulls)
            assert again, "nobody was in the middle of a pull"
            self._settle(survivor)
            left = self._uploads("killed")
            assert left, "the upload of the killed one has vanished"
            wanted = {d for image in images for d in image.contents - {image.digest}}
            assert self._all_right("killed") == wanted
            # What was left behind is neither served nor in the way of anybody.
            victim.start(*storage(self._processes, self._cluster, "killed", victim.name))
            self._upstreams.stop()
            try:
                for mirror in self._replicas:
                    for image in images:
                        _pull([mirror], image, attempts=1)
            finally:
                self._upstreams.start()
        finally:
            self._stop()
        return f"{again} pulls made again, {len(left)} uploads abandoned"

    def _wait_for_both(self, bucket: str) -> None:
        """Wait until both upload the same blob: then one of the uploads is that of the victim."""
        for _ in range(3000):
            if any(count > 1 for count in Counter(self._uploads(bucket)).values()):
                return
            time.sleep(0.005)
        raise AssertionError("never did both upload the same blob")


def _key(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded[:2]}/{encoded[2:]}"


def _pull(mirrors: Sequence[Mirror], image: Image, attempts: int = 20) -> int:
    """Pull from the first that does not break off; return how often it had to be tried again.

    Wrong bytes and refusals are no reason to try again.
    """
    for attempt in range(attempts):
        try:
            Dockerd(mirrors[attempt % len(mirrors)].address).pull(image, image.tagged)
        except (OSError, HTTPException):
            if attempt + 1 == attempts:
                raise
            time.sleep(0.2)
        else:
            return attempt
    raise AssertionError("no attempts")
