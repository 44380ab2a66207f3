"""A look at the mirror, which answers in every way there is."""

from __future__ import annotations

import contextlib
import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.setup.checking import Answer, CheckFailed, Image, check
from oci_registry.setup.nouns import Mirror

MIRROR = Mirror("http://mirror.example:8080")
ALIVE = Answer(200, {}, b"oci-registry\n")


def digest(body: bytes) -> str:
    """The digest of a body."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


CONFIG = b'{"architecture": "amd64"}'
MANIFEST = json.dumps({"config": {"digest": digest(CONFIG)}, "layers": []}).encode()
INDEX = json.dumps(
    {
        "manifests": [
            {"digest": digest(b"other"), "platform": {"os": "windows"}},
            {"digest": digest(MANIFEST), "platform": {"os": "linux"}},
        ]
    }
).encode()


class Checks(SynchronousTestCase):
    """check."""

    def setUp(self) -> None:
        self.answers = {
            "/v2/": Answer(200, {}, b"{}"),
            "/healthz": ALIVE,
            "/v2/library/x/manifests/1?ns=docker.io": Answer(200, {}, INDEX),
            f"/v2/library/x/manifests/{digest(MANIFEST)}?ns=docker.io": Answer(200, {}, MANIFEST),
            f"/v2/library/x/blobs/{digest(CONFIG)}?ns=docker.io": Answer(200, {}, CONFIG),
        }

    def check(self, image: str | None = None) -> list[str]:
        parsed = None if image is None else Image.parse(image)
        return check(MIRROR, parsed, lambda path: self.answers.get(path, Answer(404, {}, b"")))

    def failure(self, image: str | None = None) -> str:
        return str(self.assertRaises(CheckFailed, self.check, image))

    def test_us(self) -> None:
        """It is us who answer, and an image is there with a blob."""
        self.assertEqual(self.check(), ["http://mirror.example:8080 is oci-registry"])
        found = self.check("x:1")
        self.assertEqual(
            found[1],
            f"pulled docker.io/library/x:1: the manifest {digest(MANIFEST)} and the blob "
            f"{digest(CONFIG)} ({len(CONFIG)} bytes)",
        )

    def test_somebody_else(self) -> None:
        """A registry that is not us, or cannot be known as us, is reported as such."""
        for answer in (Answer(404, {}, b""), Answer(200, {}, b"OK")):
            self.answers["/healthz"] = answer
            (found,) = self.check()
            self.assertIn("does not identify itself as oci-registry", found)
            self.assertEqual(
                "http://mirror.example:8080 is a registry, but not oci-registry",
                self.failure("x:1"),
            )

    def test_behind_a_proxy(self) -> None:
        """A pull tells who we are where only the registry is passed on."""
        del self.answers["/healthz"]
        headers = {"cache-status": "oci-registry; hit"}
        self.answers["/v2/library/x/manifests/1?ns=docker.io"] = Answer(200, headers, MANIFEST)
        self.assertEqual(self.check("x:1")[0], "http://mirror.example:8080 is oci-registry")

    def test_no_mirror(self) -> None:
        """What has no registry is none."""
        self.answers["/v2/"] = Answer(401, {}, b"")
        self.assertEqual(
            self.failure(), "http://mirror.example:8080/v2/ answers 401: this is not a mirror"
        )

    def test_no_image(self) -> None:
        """An error has its status, and the words of the mirror."""
        self.assertEqual(self.failure("y:1"), "docker.io/library/y:1: the mirror answers 404")
        body = json.dumps({"errors": [{"code": "X", "message": "no \x1b such"}]}).encode()
        for answer, words in (
            (Answer(502, {}, body), ": 'no \\x1b such'"),
            (Answer(502, {}, b'{"errors": []}'), ""),
            (Answer(502, {}, b"[]"), ""),
        ):
            self.answers["/v2/library/y/manifests/1?ns=docker.io"] = answer
            self.assertTrue(self.failure("y:1").endswith(f"answers 502{words}"), words)

    def test_wrong_bytes(self) -> None:
        """Other bytes than the digest says are found."""
        self.answers[f"/v2/library/x/blobs/{digest(CONFIG)}?ns=docker.io"] = Answer(200, {}, b"?")
        self.assertIn("has other bytes", self.failure("x:1"))
        path = f"/v2/library/x/manifests/{digest(MANIFEST)}?ns=docker.io"
        self.answers[path] = Answer(200, {}, b"{}")
        self.assertIn("has other bytes", self.failure("x:1"))

    def test_no_blobs(self) -> None:
        """A manifest may have none."""
        self.answers["/v2/library/x/manifests/1?ns=docker.io"] = Answer(200, {}, b"{}")
        self.assertIn("which has no blobs", self.check("x:1")[1])

    @given(st.binary(max_size=40) | st.text('{}[]":,manifestscodg01', max_size=40).map(str.encode))
    def test_anything(self, body: bytes) -> None:
        """Whatever a mirror sends is a finding or a failure."""
        self.answers["/v2/library/x/manifests/1?ns=docker.io"] = Answer(200, {}, body)
        with contextlib.suppress(CheckFailed):
            self.check("x:1")

    def test_odd_manifests(self) -> None:
        """What only looks like a manifest is a finding or a failure."""
        for body in (
            b'{"manifests": [1]}',
            b'{"manifests": [{"digest": "x"}]}',
            b'{"config": {"digest": 1}}',
            b'{"config": {}}',
            b"[" * 100_000,
        ):
            self.answers["/v2/library/x/manifests/1?ns=docker.io"] = Answer(200, {}, body)
            self.failure("x:1")


class Images(SynchronousTestCase):
    """Image.parse."""

    def test_names(self) -> None:
        """Images are named as clients name them."""
        sha = digest(b"")
        for text, shown in (
            ("busybox", "docker.io/library/busybox:latest"),
            ("a/b:1", "docker.io/a/b:1"),
            ("index.docker.io/library/x", "docker.io/library/x:latest"),
            ("quay.io/a/b:1.0", "quay.io/a/b:1.0"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            (f"ghcr.io/a/b@{sha}", f"ghcr.io/a/b@{sha}"),
            (f"ghcr.io/a/b:1@{sha}", f"ghcr.io/a/b@{sha}"),
        ):
            self.assertEqual(str(Image.parse(text)), shown)

    def test_malformed(self) -> None:
        """Anything else is refused."""
        for text in ("", "a b", "quay.io/", "a@sha256:1", "a:" + "x" * 200, "https://quay.io/a"):
            self.assertRaises(ValueError, Image.parse, text)
