"""daemon.json, merged."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from oci_registry.setup.docker import PATH, configure
from oci_registry.setup.nouns import Unusable

from .support import HTTP, HTTPS, GeneratorTestCase

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A lone surrogate is nothing that UTF-8 can say.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abé", max_size=3), inner),
    max_leaves=8,
)
LISTS = st.none() | st.lists(st.sampled_from([HTTP, f"{HTTP}/", "http://other", "x"]), max_size=3)


class Docker(GeneratorTestCase):
    """A daemon.json for Docker."""

    generator = staticmethod(configure)
    path = PATH

    def document(self, *names: str, url: str = HTTP, **existing: object) -> dict[str, object]:
        """What daemon.json holds after these values were in it."""
        made = self.configure(*names, url=url, existing=json.dumps(existing))
        document: dict[str, object] = json.loads(made.files[PATH])
        return document

    def test_no_fallback(self) -> None:
        """Docker always falls back, which is reported."""
        made = self.configure(fallback=False)
        self.assertEqual(made.files, self.configure().files)
        self.assertIn(
            "Docker always falls back to Docker Hub: --no-fallback has no effect", made.notes
        )

    def test_new(self) -> None:
        """Without a daemon.json, or with an empty one, there are our keys alone."""
        for existing in (None, "", " \n", "{}", "\ufeff", "\ufeff{}"):
            made = self.configure(existing=existing)
            self.assertEqual(
                json.loads(made.files[PATH]),
                {"registry-mirrors": [HTTP], "insecure-registries": ["mirror.example:8080"]},
            )
            self.assertTrue(made.files[PATH].endswith("}\n"))

    def test_tls(self) -> None:
        """A mirror with TLS is not insecure."""
        self.assertEqual(self.document(url=HTTPS), {"registry-mirrors": [HTTPS]})

    def test_others(self) -> None:
        """Other registries cannot be mirrored: how to pull from them is reported."""
        made = self.configure("quay.io", "docker.io", "r.example:5000")
        self.assertEqual(
            made.notes,
            (
                f"Docker mirrors docker.io only: pull from quay.io as {HTTP[7:]}/quay.io/...",
                "restart Docker after a change",
            ),
        )

    def test_without_hub(self) -> None:
        """Without docker.io a mirror in plain HTTP is allowed only, and one with TLS needs nothing."""
        self.assertEqual(self.document("quay.io"), {"insecure-registries": ["mirror.example:8080"]})
        made = self.configure("quay.io", url=HTTPS, existing='{"debug": true}')
        self.assertEqual(made.files, {})
        self.assertEqual(len(made.notes), 1)

    def test_kept(self) -> None:
        """Other keys stay as they are, in their order."""
        document = self.document(debug=True, runtimes={"a": {"path": "/é"}}, data="x")
        self.assertEqual(
            list(document), ["debug", "runtimes", "data", "registry-mirrors", "insecure-registries"]
        )
        self.assertEqual(document["runtimes"], {"a": {"path": "/é"}})

    def test_lists(self) -> None:
        """Other mirrors are asked after this one, and what was insecure stays so."""
        document = self.document(
            **{"registry-mirrors": ["https://other"], "insecure-registries": ["10.0.0.0/8"]}
        )
        self.assertEqual(document["registry-mirrors"], [HTTP, "https://other"])
        self.assertEqual(document["insecure-registries"], ["10.0.0.0/8", "mirror.example:8080"])

    def test_unchanged(self) -> None:
        """A file that says all of it stays as it is, down to the blanks."""
        text = (
            f'\ufeff{{"registry-mirrors":["{HTTP}/"],"debug":true,'
            '\n\n"insecure-registries":["mirror.example:8080"]}'
        )
        self.assertEqual(self.configure(existing=text).files, {PATH: text})

    def test_broken(self) -> None:
        """What is not JSON is refused, with the place and without what is there."""
        self.assertEqual(
            self.refuse('{\n  "a": s3cret}'), "is not JSON: line 2, column 8: Expecting value"
        )
        self.assertIn("is not JSON", self.refuse('{"a": 1} // s3cret'))
        self.assertEqual(self.refuse(b'{"a": "\xff"}'), "is not UTF-8")

    def test_unusable(self) -> None:
        """JSON that would not come out as it went in is refused."""
        for text, reason in (
            ("[]", "must be an object of keys and values"),
            ("null", "must be an object of keys and values"),
            ('{"a": {"s3cret": 1, "s3cret": 2}}', "a key is given twice in one object"),
            ('{"a": NaN}', "NaN is not JSON"),
            ('{"a": 1e999}', "a number is too large"),
            ("[" * 100_000, "it is nested too deeply"),
            ('{"registry-mirrors": "s3cret"}', "registry-mirrors must be a list of texts"),
            ('{"insecure-registries": [1]}', "insecure-registries must be a list of texts"),
        ):
            self.assertIn(reason, self.refuse(text), text[:40])

    @given(st.dictionaries(st.text("ab-é", max_size=4), VALUES, max_size=4), LISTS, LISTS)
    def test_merging(
        self, others: dict[str, object], mirrors: list[str] | None, insecure: list[str] | None
    ) -> None:
        """Whatever is in the file: it survives, our values are there, and once is enough."""
        document = {**others, "registry-mirrors": mirrors, "insecure-registries": insecure}
        text = self.configure(existing=json.dumps(document)).files[PATH]
        merged = json.loads(text)
        self.assertEqual(list(merged), list(document))
        self.assertEqual({key: merged[key] for key in others}, others)
        for key, ours, theirs in (
            ("registry-mirrors", HTTP, mirrors or []),
            ("insecure-registries", "mirror.example:8080", insecure or []),
        ):
            self.assertIn(ours, [value.rstrip("/") for value in merged[key]])
            self.assertEqual([v for v in merged[key] if v in theirs], theirs)
            self.assertLessEqual(len(merged[key]), len(theirs) + 1)
        self.assertEqual(self.configure(existing=text).files, {PATH: text})

    @given(st.binary(max_size=30) | st.text('{}[]":,1e-tnN \n', max_size=20).map(str.encode))
    def test_anything(self, data: bytes) -> None:
        """Any bytes make a document or are unusable."""
        try:
            made = self.configure(existing=data)
        except Unusable:
            return
        self.assertIn("registry-mirrors", json.loads(made.files[PATH].removeprefix("\ufeff")))
