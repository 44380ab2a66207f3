"""What token servers answer."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.upstream.schemes.tokens import MAX_LIFETIME, read_token

NOW = 1_700_000_000.0


class Reading(SynchronousTestCase):
    """read_token."""

    def left(self, **answer: object) -> float:
        """Return for how many seconds the token of an answer is used."""
        token = read_token(json.dumps({"token": "t", **answer}).encode(), NOW)
        assert token is not None
        return token.expires - NOW

    def test_issued_at(self) -> None:
        """The life of a token begins when it was issued."""
        for issued_at in (
            "2023-11-14T22:11:40Z",
            "2023-11-14T22:11:40.123456789Z",
            "2023-11-14T23:11:40+01:00",
            "2023-11-14t22:11:40z",
            " 2023-11-14T22:11:40",
        ):
            left = self.left(expires_in=300, issued_at=issued_at)
            self.assertEqual(300 - 100 - 15, int(left), issued_at)

    def test_other_clocks(self) -> None:
        """Where that cannot be, because clocks differ, it begins now."""
        for issued_at in (
            "2023-11-14T22:13:21Z",
            "2099-01-01T00:00:00Z",
            "2023-11-14T22:08:20Z",
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59-23:59",
            "yesterday",
            "",
            "2" * 10_000,
            5,
            None,
            ["2023-11-14T22:11:40Z"],
        ):
            self.assertEqual(285, self.left(expires_in=300, issued_at=issued_at), issued_at)

    def test_default(self) -> None:
        """A life of a minute, which is what none is, counts from then too."""
        self.assertEqual(30 - 7.5, self.left(issued_at="2023-11-14T22:12:50Z"))

    def test_secret(self) -> None:
        """A token is not in its repr."""
        self.assertNotIn("s3cret", repr(read_token(b'{"token": "s3cret"}', NOW)))

    @given(
        st.binary(max_size=60)
        | st.fixed_dictionaries(
            {},
            optional={
                "token": st.text(max_size=5) | st.integers() | st.none(),
                "access_token": st.text(max_size=5),
                "expires_in": st.integers() | st.floats() | st.text(max_size=8) | st.none(),
                "issued_at": st.text(max_size=30) | st.datetimes().map(str) | st.floats(),
            },
        ).map(lambda answer: json.dumps(answer).encode())
    )
    def test_anything(self, body: bytes) -> None:
        """Any answer is read, and a token of it can be sent and has an end."""
        token = read_token(body, NOW)
        if token is not None:
            self.assertRegex(token.value, r"\A[\x21-\x7e]+\Z")
            self.assertTrue(NOW <= token.expires <= NOW + MAX_LIFETIME)
