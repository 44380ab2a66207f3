"""Repositories, tags, references and registry hosts."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import DigestInvalid, NameInvalid, ReferenceInvalid
from oci_registry.spec.reference import (
    Tag,
    parse_reference,
    parse_repository,
    parse_tag,
)

REPOSITORY = (
    r"\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\Z"  # as in the spec
)
_WORD = st.text("abz09", min_size=1, max_size=4)
_SEPARATOR = st.sampled_from((".", "_", "__", "-", "--", "-----"))
_COMPONENT = st.tuples(_WORD, st.lists(st.tuples(_SEPARATOR, _WORD).map("".join), max_size=3)).map(
    lambda parts: parts[0] + "".join(parts[1])
)
GENERATED = st.lists(_COMPONENT, min_size=1, max_size=5).map("/".join)
"""What the grammar makes, put together by hand: the expression itself makes it at fifty times the cost."""
TAG = r"\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z"


class Repositories(SynchronousTestCase):
    """The grammar of names."""

    def test_accepted(self) -> None:
        """Names as they are in use are accepted as they are."""
        for text in (
            "a",
            "0",
            "busybox",
            "library/busybox",
            "k8s.gcr.io/pause",
            "a/b/c/d/e/f",
            "a.b",
            "a_b",
            "a__b",
            "a-b",
            "a-----b",
            "manifests",
            "blobs/tags/list",
            "a" * 255,
            "a/" * 127 + "a",
        ):
            self.assertEqual(parse_repository(text), text)

    def test_refused(self) -> None:
        """Names outside the grammar are refused."""
        for text in (
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/../b",
            ".a",
            "a.",
            "a..b",
            "_a",
            "a_",
            "a___b",
            "-a",
            "a-",
            "a.-b",
            "a_-b",
            "A",
            "a/B",
            "\u00e9",
            "\u0661",
            "a\u0131",
            "a b",
            " a",
            "a\n",
            "a\x00",
            "a%2fb",
            "a\\b",
            "a:b",
            "localhost:5000/a",
            "a@b",
            "a" * 256,
        ):
            self.assertRaises(NameInvalid, parse_repository, text)

    def test_reasons(self) -> None:
        """The message says what is wrong."""
        for text, reason in {
            "": "must not be empty",
            "a" * 256: "at most 255 characters, not 256",
            "Foo": "upper-case",
            "a..b": "components of a-z and 0-9",
        }.items():
            error = self.assertRaises(NameInvalid, parse_repository, text)
            self.assertIn(reason, error.message)

    def test_upper_case(self) -> None:
        """Upper-case letters are as good as others where they are allowed."""
        for text in ("A", "bartowski/Llama-3.2-1B-Instruct-GGUF", "A_b/C.D--e", "A" * 127 + "a"):
            self.assertEqual(parse_repository(text, upper_case=True), text)
            error = self.assertRaises(NameInvalid, parse_repository, text)
            self.assertIn("it has upper-case letters", error.message)
        for length, count in ((128, 256), (200, 400), (256, 256)):
            error = self.assertRaises(NameInvalid, parse_repository, "A" * length, upper_case=True)
            self.assertIn(f"at most 255 characters, not {count}", error.message)
        for text in ("", "A..b", "_A", "A/", "A//B", "A:b", "\u00c4", "A" * 256):
            self.assertRaises(NameInvalid, parse_repository, text, upper_case=True)

    @settings(deadline=None)
    @given(st.text(st.sampled_from("abAB0._-/ "), max_size=12))
    def test_case_alone(self, text: str) -> None:
        """With upper case allowed, a name is one exactly if it is one in lower case."""
        outcomes = []
        for one, upper_case in ((text, True), (text.lower(), False)):
            try:
                parse_repository(one, upper_case=upper_case)
            except NameInvalid:
                outcomes.append(False)
            else:
                outcomes.append(True)
        self.assertEqual(outcomes[0], outcomes[1])

    def test_hostile_names_are_refused_at_once(self) -> None:
        """No name makes the grammar backtrack, neither a long one nor one of legal length."""
        began = time.process_time()
        for piece in ("a", "a-", "a_", "a__", "a.", "-", "/", "a/", "--", "a-a_a."):
            for length in (250, 5000, 100_000):
                text = (piece * length)[:length] + "!"
                self.assertRaises(NameInvalid, parse_repository, text)
        self.assertLess(time.process_time() - began, 0.5)

    @settings(deadline=None)
    @given(GENERATED)
    def test_grammar_of_the_spec(self, text: str) -> None:
        """Whatever the grammar of the spec generates is accepted."""
        self.assertRegex(text, REPOSITORY)
        self.assertEqual(parse_repository(text), text)

    @settings(deadline=None)
    @given(st.text(st.sampled_from("ab0._-/A "), max_size=12))
    def test_only_grammar_of_the_spec(self, text: str) -> None:
        """Whatever is accepted is in the grammar of the spec, and the reverse."""
        try:
            parse_repository(text)
        except NameInvalid:
            self.assertNotRegex(text, REPOSITORY)
        else:
            self.assertRegex(text, REPOSITORY)


class Tags(SynchronousTestCase):
    """The grammar of tags."""

    def test_accepted(self) -> None:
        """Tags as they are in use are accepted as they are."""
        for text in ("latest", "v1.2.3", "_", "3.2", "A-b_c.d", "0", "a..b", "t" * 128):
            self.assertEqual(parse_tag(text), text)
            self.assertEqual(str(Tag(text)), text)

    def test_refused(self) -> None:
        """Tags outside the grammar are refused, by the constructor as well."""
        for text in (
            "",
            ".a",
            "-a",
            "..",
            "a b",
            "a/b",
            "a:b",
            "a@b",
            "a+b",
            "a\n",
            "a\x00",
            "\u00e9",
            "t" * 129,
            "t" * 5000,
        ):
            self.assertRaises(ReferenceInvalid, parse_tag, text)
            self.assertRaises(ReferenceInvalid, Tag, text)

    @settings(deadline=None)
    @given(st.from_regex(TAG))
    def test_grammar_of_the_spec(self, text: str) -> None:
        """Whatever the grammar of the spec generates is accepted."""
        self.assertEqual(parse_tag(text), text)

    @settings(deadline=None)
    @given(st.text(st.characters(max_codepoint=0x200), max_size=140))
    def test_only_grammar_of_the_spec(self, text: str) -> None:
        """Whatever is accepted is in the grammar of the spec."""
        try:
            parse_tag(text)
        except ReferenceInvalid:
            return
        self.assertRegex(text, TAG)


class References(SynchronousTestCase):
    """Tags or digests."""

    def test_digest(self) -> None:
        """What has a colon is a digest."""
        text = "sha256:" + "a" * 64
        self.assertEqual(parse_reference(text), Digest.parse(text))

    def test_tag(self) -> None:
        """What has none is a tag, even if it looks like half a digest."""
        self.assertEqual(parse_reference("latest"), Tag("latest"))
        self.assertEqual(parse_reference("a" * 64), Tag("a" * 64))
        self.assertEqual(parse_reference("sha256-" + "a" * 64), Tag("sha256-" + "a" * 64))

    def test_refused(self) -> None:
        """What is neither is refused as what it was meant to be."""
        self.assertRaises(DigestInvalid, parse_reference, "sha256:abc")
        self.assertRaises(DigestInvalid, parse_reference, "latest:")
        self.assertRaises(ReferenceInvalid, parse_reference, "")
        self.assertRaises(ReferenceInvalid, parse_reference, "..")

    @settings(deadline=None)
    @given(st.text(max_size=200))
    def test_any_text(self, text: str) -> None:
        """Any text is a reference that is written the same, or is refused."""
        try:
            reference = parse_reference(text)
        except (DigestInvalid, ReferenceInvalid):
            return
        self.assertEqual(str(reference), text)
