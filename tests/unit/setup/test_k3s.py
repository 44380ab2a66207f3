"""registries.yaml, merged."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from oci_registry.setup.k3s import PATH, PATH_RKE2, k3s, rke2
from oci_registry.setup.nouns import Unusable

from .support import HTTP, HTTPS, GeneratorTestCase

KEYS = st.text("ab.*:", min_size=1, max_size=4)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.dates()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
ENDPOINTS = st.none() | st.lists(st.sampled_from([HTTP, "http://other", "x"]), max_size=3)


class K3s(GeneratorTestCase):
    """A registries.yaml for k3s."""

    generator = staticmethod(k3s)
    path = PATH

    def merge(self, existing: str, *names: str) -> Any:
        """What registries.yaml holds after this was in it."""
        return yaml.safe_load(self.configure(*names, existing=existing).files[PATH])

    def test_new(self) -> None:
        """Without a registries.yaml, or with an empty one, there are our mirrors alone."""
        for existing in (None, "", "# nothing\n", "---\n", "mirrors:\n", "\ufeffmirrors: {}\n"):
            made = self.configure("docker.io", "r.example:5000", url=HTTPS, existing=existing)
            mirrors = yaml.safe_load(made.files[PATH])
            self.assertEqual(
                mirrors,
                {
                    "mirrors": {
                        "docker.io": {"endpoint": [HTTPS]},
                        "r.example:5000": {"endpoint": [HTTPS]},
                    }
                },
            )

    def test_kept(self) -> None:
        """Credentials, other mirrors, and what is special about a mirror stay."""
        merged = self.merge(
            "configs: {r.example: {auth: {username: pat, password: '0123'}}}\n"
            "mirrors:\n"
            "  '*': {endpoint: [http://all]}\n"
            "  docker.io: {endpoint: [http://other], rewrite: {'^a/(.*)': 'b/$1'}}\n"
            "  quay.io:\n",
            "docker.io",
            "quay.io",
        )
        self.assertEqual(
            merged,
            {
                "configs": {"r.example": {"auth": {"username": "pat", "password": "0123"}}},
                "mirrors": {
                    "*": {"endpoint": ["http://all"]},
                    "docker.io": {
                        "endpoint": [HTTP, "http://other"],
                        "rewrite": {"^a/(.*)": "b/$1"},
                    },
                    "quay.io": {"endpoint": [HTTP]},
                },
            },
        )

    def test_shared(self) -> None:
        """A mirror that others refer to is changed for itself only."""
        merged = self.merge(
            "mirrors:\n"
            "  docker.io: &a {endpoint: [http://other]}\n"
            "  ghcr.io: *a\n"
            "  gcr.io: {<<: *a}\n"
        )
        self.assertEqual(merged["mirrors"]["docker.io"]["endpoint"], [HTTP, "http://other"])
        for name in ("ghcr.io", "gcr.io"):
            self.assertEqual(merged["mirrors"][name], {"endpoint": ["http://other"]})

    def test_merge_keys(self) -> None:
        """A mapping that overrides what it merges has no key twice."""
        merged = self.merge(
            "a: {b: &b {one: 1, two: 1}, c: &c {<<: *b, one: 2}}\nd: {<<: *c, two: 3}\n"
        )
        self.assertEqual(merged["a"]["c"], {"one": 2, "two": 1})
        self.assertEqual(merged["d"], {"one": 2, "two": 3})

    def test_unchanged(self) -> None:
        """A file that says all of it stays as it is, comments too."""
        text = f"# ours\nmirrors: {{docker.io: {{endpoint: [ '{HTTP}/' ]}}}}"
        made = self.configure(existing=text)
        self.assertEqual(made.files, {PATH: text})
        self.assertEqual(made.notes, ("restart k3s (or k3s-agent) after a change",))

    def test_no_fallback(self) -> None:
        """What keeps k3s from falling back is an option of the node, which is reported."""
        made = self.configure(fallback=False)
        self.assertEqual(made.files, self.configure().files)
        self.assertIn("--disable-default-registry-endpoint", made.notes[0])

    def test_comments(self) -> None:
        """Comments are lost when something is changed, which is reported."""
        made = self.configure(existing="# mine\nconfigs: {}\n")
        self.assertNotIn("mine", made.files[PATH])
        self.assertIn(f"comments in {PATH} are lost; the previous file still has them", made.notes)
        self.assertEqual(len(self.configure(existing="configs: {}\n").notes), 1)

    def test_nothing_to_do(self) -> None:
        """Without a registry and without a file there is none."""
        made = self.configure("mirror")
        self.assertEqual(made.files, {})

    def test_broken(self) -> None:
        """What is not YAML is refused, with the place and without what is there."""
        self.assertIn("is not YAML: line 2", self.refuse("a: 1\nb: [s3cret"))
        self.assertIn("is not YAML", self.refuse("a: 1\n---\nb: s3cret\n"))
        self.assertIn("is not YAML", self.refuse("a: !s3cret 1\n"))
        self.assertIn("is not YAML", self.refuse("a: \x01s3cret"))

    def test_unusable(self) -> None:
        """YAML that cannot be merged with is refused."""
        for text, reason in (
            ("[]", "the document must be a mapping"),
            ("s3cret", "the document must be a mapping"),
            ("mirrors: []", "mirrors must be a mapping"),
            ("mirrors: {docker.io: http://s3cret}", "mirrors of docker.io must be a mapping"),
            (
                "mirrors: {docker.io: {endpoint: http://s3cret}}",
                "mirrors of docker.io: endpoint must be a list of texts",
            ),
            ("a: 1\nb:\n  s3cret: 1\n  s3cret: 2\n", "the mapping in line 3 has a key twice"),
            ("a: 2026-13-45", "a value is malformed"),
            ("a: !!int s3cret", "a value is malformed"),
            ("a: !!timestamp s3cret", "a value is malformed"),
            ("a: !!bool s3cret", "a value is malformed"),
            # In lines of their own: within a line, PyYAML looks for a key at each of a thousand brackets.
            ("[\n" * 20_000, "it is nested too deeply"),
        ):
            self.assertIn(reason, self.refuse(text), text[:40])

    @given(
        st.dictionaries(KEYS, VALUES, max_size=3),
        st.dictionaries(KEYS, VALUES, max_size=3),
        st.dictionaries(KEYS, VALUES, max_size=2),
        ENDPOINTS,
    )
    def test_merging(
        self,
        others: dict[str, object],
        mirrors: dict[str, object],
        entry: dict[str, object],
        endpoints: list[str] | None,
    ) -> None:
        """Whatever is in the file: it survives, our mirror is there, and once is enough."""
        entry = {**entry, "endpoint": endpoints}
        document = {**others, "mirrors": {**mirrors, "docker.io": entry}}
        text = self.configure(existing=yaml.safe_dump(document, sort_keys=False)).files[PATH]
        merged = yaml.safe_load(text)
        ours = merged["mirrors"]["docker.io"].pop("endpoint")
        self.assertEqual(ours.count(HTTP), max(1, (endpoints or []).count(HTTP)))
        self.assertEqual([e for e in ours if e in (endpoints or [])], endpoints or [])
        del entry["endpoint"]
        self.assertEqual(merged, document)
        self.assertEqual(list(merged), list(document))
        self.assertEqual(self.configure(existing=text).files, {PATH: text})

    @given(st.binary(max_size=30) | st.text('{}[]":,&*!<>-ab \n', max_size=20).map(str.encode))
    def test_anything(self, data: bytes) -> None:
        """Any bytes make a document or are unusable."""
        try:
            made = self.configure(existing=data)
        except Unusable:
            return
        self.assertIn("docker.io", yaml.safe_load(made.files[PATH])["mirrors"])


class Rke2(GeneratorTestCase):
    """A registries.yaml for RKE2."""

    generator = staticmethod(rke2)
    path = PATH_RKE2

    def test_same(self) -> None:
        """RKE2 has the same file at another place."""
        existing = "configs: {a: 1}\n"
        made = self.configure("quay.io", existing=existing)
        self.assertEqual(list(made.files), [PATH_RKE2])
        self.assertEqual(
            yaml.safe_load(made.files[PATH_RKE2]),
            {"configs": {"a": 1}, "mirrors": {"quay.io": {"endpoint": [HTTP]}}},
        )
        self.assertEqual(made.notes, ("restart rke2-server (or rke2-agent) after a change",))
