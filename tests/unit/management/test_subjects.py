"""What the names in questions mean."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.management.problems import InvalidName
from oci_registry.management.subjects import check_pattern, parse_digest, parse_subject
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image

DIGEST = Digest.of(b"x")


class Names(SynchronousTestCase):
    """Names of images and digests."""

    def test_names(self) -> None:
        """Names are those of clients, in full."""
        for text, name in (
            ("x", "docker.io/library/x:latest"),
            ("x:1", "docker.io/library/x:1"),
            ("quay.io/a/b:1", "quay.io/a/b:1"),
            (f"x:1@{DIGEST}", f"docker.io/library/x@{DIGEST}"),
            (f"quay.io/@{DIGEST}", f"quay.io/@{DIGEST}"),
            (f"localhost:5000/@{DIGEST}", f"localhost:5000/@{DIGEST}"),
        ):
            self.assertEqual(name, str(parse_subject(text, parse_image)))

    def test_image(self) -> None:
        """One with a repository can be pinned, one without cannot."""
        for text in ("x:1", f"quay.io/a/b@{DIGEST}"):
            subject = parse_subject(text, parse_image)
            self.assertEqual(str(subject), str(subject.image()))
        with self.assertRaisesRegex(InvalidName, "give the repository too"):
            parse_subject(f"quay.io/@{DIGEST}", parse_image).image()

    def test_wrong(self) -> None:
        """All else is refused in a sentence."""
        for text in (
            "",
            "http://x",
            "x:",
            "x@1",
            "quay.io/@sha256:1",
            "a/b/@sha256:1",
            "a/@sha256:1",
            "/@x",
            "a" * 2000,
            "quay.io/@",
        ):
            with self.assertRaises(InvalidName):
                parse_subject(text, parse_image)
        for text in ("", "x", "sha256:1"):
            with self.assertRaises(InvalidName):
                parse_digest(text)
        with self.assertRaises(InvalidName):
            check_pattern("x" * 513)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Nothing else is ever raised, and what is read is read again."""
        try:
            subject = parse_subject(text, parse_image)
        except InvalidName:
            return
        self.assertEqual(subject, parse_subject(str(subject), parse_image))
