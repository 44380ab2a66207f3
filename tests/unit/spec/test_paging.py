"""The queries that lead from page to page."""

from __future__ import annotations

from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.links import BadLink
from oci_registry.spec.paging import (
    MAX_PAGE_FIELDS,
    MAX_PAGE_QUERY,
    clean_query,
    next_query,
    opaque_query,
    page_begin,
)

TEXT = st.characters(exclude_categories=["Cs"])
CHARACTERS = st.one_of(
    st.characters(min_codepoint=1, exclude_categories=["Cs"]),
    st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
)
"""What queries are made of: text, and bytes that were none."""


class Next(SynchronousTestCase):
    """From a link's target to the query of the next page."""

    def test_wherever_it_leads(self) -> None:
        """Only the query counts, to the letter."""
        for place in (
            *(
                "",
                "/v2/a/tags/list",
                "list",
                "https://elsewhere.example/x",
                "//h:5000/y",
                "HTTP://h",
            ),
            *("/repository/x/v2/a/tags/list", "http://user:secret@h/", "javascript:alert(1)"),
        ):
            self.assertEqual("last=b&n=2", next_query(f"{place}?last=b&n=2"))
            self.assertEqual("t=a%2F?=", next_query(f"{place}?t=a%2F?=#fragment?x=y"))

    def test_as_many_as_you_like(self) -> None:
        """An ``n`` of 0 is left out: it would ask for nothing."""
        self.assertEqual("last=b", next_query("?last=b&n=0"))
        self.assertEqual("page=2", next_query("?n=&page=2"))
        self.assertEqual("page=0", next_query("?page=0"))

    def test_namespace(self) -> None:
        """Whose list it is is not for the upstream to say."""
        self.assertEqual("last=b&n=2", next_query("?ns=evil.example&last=b&n%73=x&n=2"))

    def test_nothing_new(self) -> None:
        """A link that does not say where a page begins leads nowhere."""
        for target in (
            "/v2/a/tags/list",
            "/x?",
            "?n=10",
            "?n=10&last=",
            "?ns=x",
            "#?last=b",
            "?&&",
        ):
            self.assertRaises(BadLink, next_query, target)

    def test_floods(self) -> None:
        """The query is bounded."""
        longest = "?" + "x=" + "y" * (MAX_PAGE_QUERY - 2)
        self.assertEqual(longest[1:], next_query(longest))
        many = "?" + "&".join(["x=y"] * MAX_PAGE_FIELDS)
        self.assertEqual(many[1:], next_query(many))
        for target in (longest + "y", many + "&z=1", "?x=" + "\N{SNOWMAN}" * 300):
            self.assertRaises(BadLink, next_query, target)


class Clean(SynchronousTestCase):
    """Which values a query may have."""

    @given(st.text(CHARACTERS, max_size=80))
    def test_any_text(self, text: str) -> None:
        """Any text becomes what a query may hold, and then stays as it is."""
        cleaned = clean_query(text)
        self.assertRegex(cleaned, r"\A(?:[A-Za-z0-9!$&'()*+,\-./:;=?@_~]|%[0-9A-Fa-f]{2})*\Z")
        self.assertEqual(cleaned, clean_query(cleaned))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["n", "last", "ns", "page", "x"]), st.text(TEXT, max_size=30)
            ),
            max_size=5,
        )
    )
    def test_fields(self, fields: list[tuple[str, str]]) -> None:
        """The fields mean what they meant, in their order, without ``ns``."""
        query = "&".join(f"{key}={value}" for key, value in fields if set(value).isdisjoint("&%+"))
        expected = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != "ns"]
        self.assertEqual(expected, parse_qsl(clean_query(query), keep_blank_values=True))

    def test_bytes(self) -> None:
        """Bytes that are no text are escaped as the bytes that they are."""
        self.assertEqual("a=%FF", clean_query(b"a=\xff".decode("utf-8", "surrogateescape")))

    def test_opaque(self) -> None:
        """What has fields of its own is opaque."""
        self.assertIsNone(opaque_query("n=1&last=b&ns=x"))
        self.assertEqual("n=1&page=b", opaque_query("n=1&ns=x&page=b"))
        self.assertIsNone(opaque_query("n=" + "9" * 4000))

    def test_begin(self) -> None:
        """Where a page begins does not depend on its size, nor on the order of the fields."""
        self.assertEqual((("last", "a b"),), page_begin("n=5&last=a+b"))
        self.assertEqual(page_begin("page=2&x=1&n=5"), page_begin("x=1&page=2&last="))
        self.assertEqual((), page_begin("n=5"))
