"""Errors as exceptions and as OCI JSON."""

from __future__ import annotations

import json
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec import errors
from oci_registry.spec.errors import RangeInvalid, RegistryError, TooManyRequests, Unsupported

TABLE: dict[str, tuple[str, int]] = {
    "NameInvalid": ("NAME_INVALID", 400),
    "NameUnknown": ("NAME_UNKNOWN", 404),
    "DigestInvalid": ("DIGEST_INVALID", 400),
    "ReferenceInvalid": ("MANIFEST_INVALID", 400),
    "ManifestInvalid": ("MANIFEST_INVALID", 400),
    "ManifestUnknown": ("MANIFEST_UNKNOWN", 404),
    "BlobUnknown": ("BLOB_UNKNOWN", 404),
    "Denied": ("DENIED", 403),
    "Unsupported": ("UNSUPPORTED", 405),
    "RangeInvalid": ("RANGE_INVALID", 416),
    "PaginationInvalid": ("PAGINATION_NUMBER_INVALID", 400),
    "TooManyRequests": ("TOOMANYREQUESTS", 503),
    "BadRequest": ("UNSUPPORTED", 400),
    "Unavailable": ("UNAVAILABLE", 503),
    "BadGateway": ("UNAVAILABLE", 502),
    "GatewayTimeout": ("UNAVAILABLE", 504),
    "InternalError": ("UNKNOWN", 500),
}


def only_entry(error: RegistryError) -> dict[str, object]:
    """The one error in the JSON of ``error``."""
    document = json.loads(error.as_json())
    assert list(document) == ["errors"]
    (entry,) = document["errors"]
    return cast(dict[str, object], entry)


class Codes(SynchronousTestCase):
    """Which error has which code and status."""

    def test_table(self) -> None:
        """Every error has the code and the status that the distribution spec gives it."""
        found = {
            kind.__name__: (kind.code, kind.status)
            for kind in RegistryError.__subclasses__()
            # The admin API has errors of its own.
            if kind.__module__ == errors.__name__
        }
        self.assertEqual(found, TABLE)

    def test_all_are_registry_errors(self) -> None:
        """Every error says its message as an exception does, and has no headers of its own."""
        for name in TABLE:
            error = getattr(errors, name)("what happened")
            self.assertIsInstance(error, RegistryError)
            self.assertEqual(str(error), "what happened")
            self.assertEqual(error.message, "what happened")
            self.assertIsNone(error.detail)
            self.assertEqual(dict(error.headers), {})


class Json(SynchronousTestCase):
    """The body of an error response."""

    def test_without_detail(self) -> None:
        """The detail is left out where there is none."""
        self.assertEqual(
            errors.BlobUnknown("no such blob").as_json(),
            b'{"errors":[{"code":"BLOB_UNKNOWN","message":"no such blob"}]}',
        )

    def test_with_detail(self) -> None:
        """The detail is any JSON value, one that counts as false included."""
        details: list[object] = [{"name": "a"}, [], 0, "x", False]
        for detail in details:
            self.assertEqual(only_entry(errors.Denied("no", detail=detail))["detail"], detail)

    def test_detail_that_is_no_json(self) -> None:
        """A detail that JSON cannot express is left out, and the error is told nevertheless."""
        endless: list[object] = []
        endless.append(endless)
        for detail in (object(), b"bytes", float("nan"), endless, {1: {(): 2}}):
            self.assertEqual(
                only_entry(errors.Denied("no", detail=detail)), {"code": "DENIED", "message": "no"}
            )

    def test_long_message_is_cut(self) -> None:
        """A client gets a thousand characters of a message at most."""
        for length in (999, 1000, 1001, 100_000):
            message = cast(str, only_entry(errors.Denied("x" * length))["message"])
            self.assertEqual(len(message), min(length, 1000))
            self.assertEqual(message.endswith("..."), length > 1000)

    def test_control_characters_are_made_visible(self) -> None:
        """A message cannot steer the terminal it is printed to."""
        entry = only_entry(errors.Denied("a\x1b[2Jb\r\n\x00\x7f\x9b\u2028"))
        self.assertEqual(entry["message"], r"a\x1b[2Jb\r\n\x00\x7f\x9b\u2028")

    @settings(deadline=None)
    @given(st.text(st.characters(), max_size=2000))
    def test_any_message(self, message: str) -> None:
        """Whatever the message, the body is JSON in printable ASCII."""
        body = errors.Denied(message).as_json()
        self.assertTrue(body.isascii())
        self.assertTrue(body.decode("ascii").isprintable())
        self.assertEqual(only_entry(errors.Denied(message))["code"], "DENIED")


class Headers(SynchronousTestCase):
    """Errors that bring headers along."""

    def test_method(self) -> None:
        """A refused method is answered with the methods there are (RFC 9110, 15.5.6)."""
        error = Unsupported.for_method("BREW", ["GET", "HEAD"])
        self.assertEqual(dict(error.headers), {"Allow": "GET, HEAD"})
        self.assertIn("BREW", error.message)

    def test_odd_method(self) -> None:
        """A method of a megabyte with control characters is named in short."""
        self.assertLess(len(Unsupported.for_method("\x00" * 1_000_000, ["GET"]).message), 200)

    def test_range(self) -> None:
        """A range without a byte is answered with the size there is (RFC 9110, 15.5.17)."""
        error = RangeInvalid.beyond(10)
        self.assertEqual(dict(error.headers), {"Content-Range": "bytes */10"})

    def test_retry_after(self) -> None:
        """A client is told in whole seconds when to come back, never in negative ones."""
        self.assertEqual(TooManyRequests.retry_after("slow down", 7).headers["Retry-After"], "7")
        self.assertEqual(TooManyRequests.retry_after("slow down", -7).headers["Retry-After"], "0")

    def test_headers_are_a_copy(self) -> None:
        """Changing the headers given to an error does not change the error."""
        given_headers = {"A": "b"}
        error = errors.Denied("no", headers=given_headers)
        given_headers["A"] = "c"
        self.assertEqual(error.headers["A"], "b")


class Shown(SynchronousTestCase):
    """Foreign text in messages."""

    def test_shown(self) -> None:
        """Foreign text is quoted, escaped and cut."""
        self.assertEqual(errors.shown("a'b\n"), '"a\'b\\n"')
        self.assertEqual(errors.shown("\u00e9"), "'\\xe9'")
        self.assertEqual(errors.shown("xxx", 3), "'xxx'")
        self.assertEqual(errors.shown("xxxx", 3), "'xxx...'")
