"""Names of images."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.names import fold_alias
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.image import ImageName, parse_image
from oci_registry.spec.reference import Tag
from tests.unit.spec.test_reference import GENERATED

DIGEST = Digest.of(b"x")
_TAGS = st.from_regex(r"\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}\Z")
_HOSTS = st.sampled_from(("docker.io", "quay.io", "localhost:5000", "[::1]:5000", "a_b:80"))


class Images(SynchronousTestCase):
    """What clients call images."""

    def test_names(self) -> None:
        """The first component is the registry if it looks like one; docker.io has a library."""
        for text, expected in (
            ("x", "docker.io/library/x:latest"),
            ("x:1", "docker.io/library/x:1"),
            ("docker.io/library/x:1", "docker.io/library/x:1"),
            ("docker.io/x", "docker.io/library/x:latest"),
            ("index.docker.io/x:1", "docker.io/library/x:1"),
            ("a/b", "docker.io/a/b:latest"),
            ("QUAY.io/a/b:V1", "quay.io/a/b:V1"),
            ("quay.io:443/a/b", "quay.io/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("hf.co/Owner/Model:Q4", "hf.co/Owner/Model:Q4"),
            (f"x@{DIGEST}", f"docker.io/library/x@{DIGEST}"),
            (f"quay.io/a/b:1@{DIGEST}", f"quay.io/a/b:1@{DIGEST}"),
        ):
            self.assertEqual(expected, str(parse_image(text, fold=fold_alias)), text)

    def test_reference(self) -> None:
        """A digest counts more than a tag, and without both it is the tag latest."""
        self.assertEqual(Tag("latest"), parse_image("x").reference)
        self.assertEqual(Tag("1"), parse_image("x:1").reference)
        self.assertEqual(DIGEST, parse_image(f"x:1@{DIGEST}").reference)

    def test_other_registries(self) -> None:
        """Another default can be set, and names that are registries without being hosts."""
        self.assertEqual("quay.io/x:1", str(parse_image("x:1", default="quay.io")))
        named = parse_image("mirror/a/b", registries={"mirror"})
        self.assertEqual(("mirror", "a/b"), (named.registry, named.repository))

    def test_refused(self) -> None:
        """Anything else is refused, with the reason."""
        for text in (
            "",
            "/x",
            "x/",
            "x:",
            "x@",
            "x@sha256:1",
            "https://quay.io/a/b",
            "a//b",
            "x:1:2",
            "quay.io/",
            "x y",
            "../x",
            "docker.io/library/../x:1",
            "x" * 2000,
        ):
            self.assertRaises(RegistryError, parse_image, text)

    @given(_HOSTS, GENERATED, st.none() | _TAGS, st.booleans())
    def test_round_trip(self, host: str, path: str, tag: str | None, with_digest: bool) -> None:
        """The full name of an image means the same image."""
        digest = DIGEST if with_digest else None
        text = f"{host}/{path}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
        image = parse_image(text)
        self.assertEqual(image.reference, parse_image(str(image)).reference)
        self.assertEqual(image.base, parse_image(str(image)).base)
        self.assertEqual(tag, image.tag and image.tag.name)

    @given(st.text(max_size=60))
    def test_any_text(self, text: str) -> None:
        """Any text is a name of an image, or refused."""
        try:
            image = parse_image(text, fold=fold_alias)
        except RegistryError:
            return
        self.assertIsInstance(image, ImageName)
        self.assertNotIn("..", image.repository.split("/"))
