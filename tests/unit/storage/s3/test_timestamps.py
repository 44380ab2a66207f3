"""Times as S3 servers write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.utils import parse_timestamp as parse_any
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import S3Settings
from oci_registry.storage.drivers.s3 import timestamps
from oci_registry.storage.drivers.s3.connection import Connection
from oci_registry.storage.drivers.s3.timestamps import parse_timestamp

_DAY = "Thu, 01 Jan 1970 00:00:00 GMT"
# hypothesis wants it without a zone.
_EARLIEST = datetime(1000, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_LISTING = b"""<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>a</Key>
<LastModified>2026-11-29T12:34:56.789Z</LastModified><Size>1</Size></Contents></ListBucketResult>"""
PLAIN = (
    "2026-11-29T12:34:56.789Z",
    "2026-11-29T12:34:56Z",
    "2024-02-29T23:59:59.000Z",
    "1970-01-01T00:00:00.001Z",
    _DAY,
    "Thu, 29 Feb 2024 23:59:59 GMT",
    # The day of the week says nothing.
    "Mon, 29 Feb 2024 23:59:59 GMT",
)
ODD = (
    "2026-11-29T12:34:56.789123456Z",
    "2026-11-29T12:34:56.7Z",
    "2026-11-29T12:34:56.789+02:00",
    "2026-11-29T12:34:56-0130",
    "20261129T123456Z",
    "2026-11-29 12:34:56Z",
    "2026-11-29t12:34:56z",
    "2026-11-29",
    "2026-11-29T12:34Z",
    "2026-11-29T24:00:00Z",
    "Sun, 29 Nov 2026 12:34:56 UTC",
    "Sun, 29 Nov 2026 12:34:56 +0200",
    "Sunday, 29-Nov-26 12:34:56 GMT",
    "Sun Nov 29 12:34:56 2026",
    "29 November 2026 12:34:56 GMT",
    "1796045696",
    "1796045696.5",
    1796045696,
    1796045696.5,
    0,
    -1,
)
BROKEN = (
    "",
    "never",
    "2026-13-01T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-11-29T12:60:00Z",
    "0000-01-01T00:00:00Z",
    "Sun, 30 Feb 2025 12:34:56 GMT",
    "Sun, 10 Foo 2025 12:34:56 GMT",
    "Sun, 10 Nov 0000 12:34:56 GMT",
    None,
)


class Parsing(SynchronousTestCase):
    """parse_timestamp."""

    def same(self, value: object) -> None:
        try:
            expected = parse_any(value)
        except Exception as error:
            self.assertRaises(type(error), parse_timestamp, value)
            return
        found = parse_timestamp(value)
        self.assertEqual(expected, found)
        if expected.tzinfo is not None:
            self.assertEqual(expected.timestamp(), found.timestamp())
        self.assertEqual(expected.tzinfo is None, found.tzinfo is None)

    def test_plain(self) -> None:
        """Times in a plain form are those that botocore finds; it is not asked."""
        for value in PLAIN:
            self.same(value)
        self.patch(timestamps, "parse_any", None)
        found = [parse_timestamp(value) for value in PLAIN]
        self.assertEqual({timedelta(0)}, {each.utcoffset() for each in found})
        self.assertEqual(datetime(1970, 1, 1, tzinfo=UTC), parse_timestamp(_DAY))

    def test_odd(self) -> None:
        """All others are what botocore makes of them."""
        for value in ODD:
            self.same(value)

    def test_broken(self) -> None:
        """What is no time fails as it does in botocore."""
        for value in BROKEN:
            self.same(value)

    @given(st.datetimes(_EARLIEST), st.sampled_from(("%03dZ", "%06dZ")))
    def test_any_time(self, when: datetime, fraction: str) -> None:
        """Any time is what botocore finds."""
        digits = when.microsecond // 1000 if fraction == "%03dZ" else when.microsecond
        self.same(f"{when:%Y-%m-%dT%H:%M:%S}." + fraction % digits)

    @given(st.from_regex(r"[0-2][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"))
    def test_any_digits(self, text: str) -> None:
        """Any digits are what botocore finds in them, or fail as there."""
        self.same(text)


class Clients(SynchronousTestCase):
    """The clients of a bucket."""

    def listed(self, client: Any) -> datetime:
        """Return the time of an object in a listing, which no server sends."""

        def respond(request: Any, **_: object) -> AWSResponse:
            body = SimpleNamespace(stream=lambda *_, **__: iter([_LISTING]))
            return AWSResponse(request.url, 200, {}, body)

        client.meta.events.register("before-send.s3.ListObjectsV2", respond)
        (item,) = client.list_objects_v2(Bucket="b")["Contents"]
        when: datetime = item["LastModified"]
        return when

    def test_used(self) -> None:
        """They read times that way, and those of other code in the process do not."""
        settings = S3Settings(
            bucket="b",
            access_key="a",
            secret_key="s",
            region="here",
            endpoint="http://127.0.0.1:1",
            spool=self.mktemp(),
        )
        connection = Connection(settings)
        other = boto3.client(
            "s3", region_name="here", aws_access_key_id="a", aws_secret_access_key="s"
        )
        expected = datetime(2026, 11, 29, 12, 34, 56, 789000, tzinfo=UTC)
        self.assertEqual(expected, self.listed(other))
        self.patch(timestamps, "parse_any", None)
        for client in (connection.reading, connection.writing):
            self.assertEqual(expected, self.listed(client))
        self.assertIsNot(UTC, self.listed(other).tzinfo)
