"""Digests and verification."""

from __future__ import annotations

import hashlib
import json

from attrs.exceptions import FrozenInstanceError
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest, Verifier, digests_in
from oci_registry.spec.errors import DigestInvalid

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Parsing(SynchronousTestCase):
    """Digests from text."""

    def test_sha256(self) -> None:
        """A sha256 digest is read and written alike."""
        digest = Digest.parse(EMPTY)
        self.assertEqual((digest.algorithm, digest.encoded), ("sha256", EMPTY[7:]))
        self.assertEqual(str(digest), EMPTY)

    def test_sha512(self) -> None:
        """A sha512 digest is read and written alike."""
        text = "sha512:" + hashlib.sha512(b"x").hexdigest()
        self.assertEqual(str(Digest.parse(text)), text)

    def test_refused(self) -> None:
        """A malformed digest is refused with the reason."""
        hex64 = "a" * 64
        table = {
            "": "has no algorithm",
            hex64: "has no algorithm",
            "sha256": "has no algorithm",
            ":" + hex64: "algorithm '' is unknown",
            "md5:" + "a" * 32: "algorithm 'md5' is unknown; known: sha256, sha512",
            "SHA256:" + hex64: "algorithm 'SHA256' is unknown",
            "sha256+b64:" + hex64: "is unknown",
            "sha256:": "64 hex digits, not 0",
            "sha256:" + "a" * 63: "64 hex digits, not 63",
            "sha256:" + "a" * 65: "64 hex digits, not 65",
            "sha512:" + hex64: "128 hex digits, not 64",
            "sha256:" + "a" * 128: "64 hex digits, not 128",
            "sha256:" + "A" * 64: "lower-case hex",
            "sha256:" + "g" * 64: "lower-case hex",
            "sha256:" + "a" * 63 + "\n": "lower-case hex",
            "sha256:" + hex64 + "\n": "64 hex digits, not 65",
            "sha256:" + "\u0661" * 64: "lower-case hex",
            "sha256:" + "../" * 21 + "a": "lower-case hex",
            "sha256::" + "a" * 63: "lower-case hex",
            " " + EMPTY: "is unknown",
            "x" * 1_000_000: "has no algorithm",
            "x" * 1_000_000 + ":": "is unknown",
        }
        for text, reason in table.items():
            error = self.assertRaises(DigestInvalid, Digest.parse, text)
            self.assertIn(reason, error.message)
            self.assertLess(len(error.message), 500)

    def test_no_malformed_one_can_be_made(self) -> None:
        """The constructor checks as well, so that every digest may become a file name."""
        for algorithm, encoded in (("sha256", "../../etc/passwd"), ("..", "a" * 64)):
            self.assertRaises(DigestInvalid, Digest, algorithm, encoded)

    @settings(deadline=None)
    @given(
        st.text(max_size=150)
        | st.from_regex(r"\A(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")
        | st.from_regex(r"\Asha(256|512):[0-9a-fA-F]{63,65}\Z")
    )
    def test_any_text(self, text: str) -> None:
        """Any text is a digest that is written the same, or is refused."""
        try:
            digest = Digest.parse(text)
        except DigestInvalid:
            return
        self.assertEqual(str(digest), text)


class Values(SynchronousTestCase):
    """Digests as values."""

    def test_equality(self) -> None:
        """Equal digests are one key of a dictionary, different ones are two."""
        self.assertEqual(Digest.parse(EMPTY), Digest.of(b""))
        self.assertEqual(hash(Digest.parse(EMPTY)), hash(Digest.of(b"")))
        self.assertNotEqual(Digest.of(b""), Digest.of(b"x"))

    def test_frozen(self) -> None:
        """A digest cannot be changed."""
        with self.assertRaises(FrozenInstanceError):
            Digest.of(b"").encoded = "b" * 64  # type: ignore[misc]

    def test_of(self) -> None:
        """The digest of bytes is computed with the algorithm asked for."""
        self.assertEqual(Digest.of(b"x").encoded, hashlib.sha256(b"x").hexdigest())
        self.assertEqual(Digest.of(b"x", "sha512").encoded, hashlib.sha512(b"x").hexdigest())

    def test_of_unknown_algorithm(self) -> None:
        """An algorithm that is unknown is refused, though Python may have it."""
        error = self.assertRaises(DigestInvalid, Digest.of, b"x", "md5")
        self.assertIn("'md5' is unknown", error.message)


class Verifying(SynchronousTestCase):
    """Content checked as it comes."""

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=50)), st.sampled_from(["sha256", "sha512"]))
    def test_pieces(self, pieces: list[bytes], algorithm: str) -> None:
        """Content is verified, however it is cut."""
        content = b"".join(pieces)
        expected = Digest.of(content, algorithm)
        verifier = Verifier(expected)
        for piece in pieces:
            verifier.update(piece)
        self.assertTrue(verifier.verified())
        self.assertEqual(verifier.actual(), expected)
        self.assertEqual(verifier.length, len(content))

    def test_wrong_byte(self) -> None:
        """One wrong byte anywhere is found."""
        content = bytes(range(256))
        for place in (0, 128, 255):
            wrong = bytearray(content)
            wrong[place] ^= 1
            verifier = Verifier(Digest.of(content))
            verifier.update(bytes(wrong))
            self.assertFalse(verifier.verified())
            self.assertEqual(verifier.actual(), Digest.of(bytes(wrong)))

    def test_short_then_whole(self) -> None:
        """Asking midway says no and has no effect."""
        verifier = Verifier(Digest.of(b"ab"))
        verifier.update(b"a")
        self.assertFalse(verifier.verified())
        self.assertEqual(verifier.actual(), Digest.of(b"a"))
        verifier.update(b"b")
        self.assertTrue(verifier.verified())

    def test_views(self) -> None:
        """A view counts in bytes, whatever its items."""
        verifier = Verifier(Digest.of(b"\0" * 16))
        verifier.update(memoryview(b"\0" * 8))
        verifier.update(memoryview(b"\0" * 8).cast("I"))
        self.assertEqual(verifier.length, 16)
        self.assertTrue(verifier.verified())


A256 = "sha256:" + "0123456789abcdef" * 4
A512 = "sha512:" + "0123456789abcdef" * 8


class Named(SynchronousTestCase):
    """The digests that a document names."""

    def test_anywhere(self) -> None:
        """Digests of both kinds are found wherever they are written, and in what is no JSON."""
        for document in (
            json.dumps({"layers": [{"digest": A256}, {"digest": A512}, A256]}),
            json.dumps({A256: {"x": [[A512]]}}),
            f"{A256}{A512}",
            f"[[[{A256},,,<html>{A512}",
        ):
            self.assertEqual(
                digests_in(document.encode()), {Digest.parse(A256), Digest.parse(A512)}, document
            )
            self.assertEqual(len(digests_in(b"\xff" + document.encode())), 2)

    def test_none(self) -> None:
        """What is no digest of ours is not found."""
        for text in (A256.upper(), A256[:-1], A512[:-1], "sha256", "md5:" + "a" * 32, ""):
            self.assertEqual(digests_in(text.encode()), frozenset())

    def test_escaped(self) -> None:
        """A digest that is written in JSON's escapes is found, in part or as a whole."""
        for text in (A256, A512):
            for form in (
                "".join(f"\\u00{ord(c):02x}" for c in text),
                "".join(f"\\u00{ord(c):02X}" for c in text),
                text.replace(":", "\\u003A"),
                "\\u0073" + text[1:],
                text[:-1] + "\\u0066",
            ):
                self.assertEqual(json.loads(f'"{form}"'), text)
                self.assertEqual(digests_in(form.encode()), {Digest.parse(text)})

    def test_large(self) -> None:
        """All are found in a large document, wherever it is cut into pieces for the search."""
        digests = {Digest.of(b"%d" % number) for number in range(15_000)}
        plain = "".join(str(digest) for digest in sorted(digests, key=str)).encode()
        self.assertGreater(len(plain), 4 * 256 * 1024)
        self.assertEqual(digests_in(plain), digests)
        some = sorted(digests, key=str)[:9000]
        escaped = b"".join(b"\\u0073%s" % str(digest)[1:].encode() for digest in some)
        self.assertEqual(digests_in(b"x" * 100 + escaped), set(some))

    @settings(deadline=None)
    @given(st.binary(max_size=50), st.binary(max_size=50), st.binary(max_size=20))
    def test_any_bytes(self, before: bytes, after: bytes, data: bytes) -> None:
        """Whatever stands around a digest, it is found."""
        digest = Digest.of(data)
        self.assertIn(digest, digests_in(before + str(digest).encode() + after))
