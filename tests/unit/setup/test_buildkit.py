"""buildkitd.toml, added to."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from oci_registry.config.settings import BUILTIN_UPSTREAMS
from oci_registry.setup.buildkit import PATH, configure
from oci_registry.setup.nouns import Mirror, Registry, Unusable, Wanted

from .support import HTTP, HTTPS, GeneratorTestCase

OURS = {
    "docker.io": {"mirrors": ["mirror.example:8080"]},
    "mirror.example:8080": {"http": True},
}


class BuildKit(GeneratorTestCase):
    """A buildkitd.toml."""

    generator = staticmethod(configure)
    path = PATH

    def test_new(self) -> None:
        """Each registry has a table, and so has a mirror without TLS."""
        for existing in (None, "", "\n"):
            made = self.configure(existing=existing)
            self.assertEqual(
                made.files[PATH],
                '[registry."docker.io"]\n  mirrors = ["mirror.example:8080"]\n\n'
                '[registry."mirror.example:8080"]\n  http = true\n',
            )
        made = self.configure("docker.io", "quay.io", url=HTTPS)
        self.assertEqual(
            tomllib.loads(made.files[PATH])["registry"],
            {
                "docker.io": {"mirrors": ["mirror.example:8443"]},
                "quay.io": {"mirrors": ["mirror.example:8443"]},
            },
        )

    def test_added(self) -> None:
        """Everything that is there stays as it is, comments too; a second time nothing changes."""
        text = 'debug = true # mine\n[worker.oci]\n  gc = true\n[registry."ghcr.io"]\nhttp = true'
        merged = self.configure(existing=text).files[PATH]
        self.assertTrue(merged.startswith(f"{text}\n\n"))
        document = tomllib.loads(merged)
        self.assertEqual(document["registry"], {"ghcr.io": {"http": True}, **OURS})
        self.assertEqual(self.configure(existing=merged).files, {PATH: merged})

    def test_in_part(self) -> None:
        """What is there already is not added again."""
        text = '[registry."docker.io"]\nmirrors = ["a", "Mirror.example:8080"]\n'
        merged = self.configure(existing=text).files[PATH]
        self.assertEqual(merged, f'{text}\n[registry."mirror.example:8080"]\n  http = true\n')

    def test_plain_registry(self) -> None:
        """A registry in plain HTTP is one for BuildKit too."""
        registry = Registry("r.example:5000", "http://r.example:5000")
        made = configure(Wanted(Mirror(HTTPS), [registry], lambda _: None))
        self.assertEqual(
            tomllib.loads(made.files[PATH])["registry"],
            {"r.example:5000": {"mirrors": ["mirror.example:8443"], "http": True}},
        )

    def test_conflicts(self) -> None:
        """A table that says something else is left to its owner, who is told what to add."""
        for text, line in (
            ('[registry."docker.io"]\nmirrors = ["s3cret"]', 'mirrors = ["mirror.example:8080"]'),
            ('[registry."docker.io"]\nhttp = true', 'mirrors = ["mirror.example:8080"]'),
            ('[registry."mirror.example:8080"]\nhttp = false', "http = true"),
        ):
            self.assertTrue(self.refuse(text).endswith(f"add to it: {line}"), text)

    def test_broken(self) -> None:
        """What is not TOML, or nothing can be added to it, is refused, without what is there."""
        self.assertEqual(
            self.refuse("a = s3cret"),
            "is not TOML, or nothing can be added to it: line 1, column 5",
        )
        self.assertIn("nothing can be added to it", self.refuse("registry = {}"))
        self.assertIn("registry must be a table", self.refuse('registry = "s3cret"'))
        self.assertIn("must be a table", self.refuse('registry."docker.io" = 1'))
        self.assertIn("list of texts", self.refuse('registry."docker.io".mirrors = "s3cret"'))
        self.assertIn("is not UTF-8", self.refuse(b"\xff"))

    def test_no_fallback(self) -> None:
        """BuildKit always falls back, which is reported."""
        made = self.configure(fallback=False)
        self.assertIn("always falls back", made.notes[0])
        self.assertEqual(made.files, self.configure().files)

    def test_nothing(self) -> None:
        """Without a registry there is nothing to add."""
        self.assertEqual(self.configure("mirror").files, {})
        self.assertEqual(self.configure("mirror", existing="a = 1").files, {PATH: "a = 1"})
        self.assertTrue(BUILTIN_UPSTREAMS)

    @given(st.binary(max_size=30) | st.text("[]{}='.#ab \n", max_size=30).map(str.encode))
    def test_anything(self, data: bytes) -> None:
        """Any bytes are added to or unusable; what was there is there."""
        try:
            made = self.configure(existing=data)
        except Unusable:
            return
        self.assertTrue(made.files[PATH].startswith(data.decode().rstrip("\n")) or not data.strip())
        registry = tomllib.loads(made.files[PATH])["registry"]
        self.assertEqual({name: registry[name] for name in OURS}, OURS)

    def test_url(self) -> None:
        """The mirror is a host here, without a scheme."""
        self.assertNotIn(HTTP, self.configure().files[PATH])
