"""Messages between processes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.workers.messages import MAX_MESSAGE, Message, pack, unpack

VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
NAMES = st.text("abcdefgh_", min_size=1).filter(lambda name: name not in ("kind", "payload"))


class Messages(SynchronousTestCase):
    """Messages as bytes."""

    @given(st.text(), st.dictionaries(NAMES, VALUES), st.binary())
    def test_round_trip(self, kind: str, fields: dict[str, object], payload: bytes) -> None:
        """What is packed is unpacked, whatever is in it."""
        self.assertEqual(Message(kind, fields, payload), unpack(pack(kind, payload, **fields)))

    @given(st.binary())
    def test_malformed(self, data: bytes) -> None:
        """Anything else is a ValueError."""
        try:
            message = unpack(data)
        except ValueError:
            return
        self.assertIsInstance(message, Message)

    def test_odd(self) -> None:
        """JSON that is no message is one too."""
        for data in (b"", b"\n", b"{}\n", b'["a"]\n', b'["a", 1]\n', b"[1, {}]\n", b'["a", {}]'):
            self.assertRaises(ValueError, unpack, data)

    def test_too_long(self) -> None:
        """A message that the socket would not take is refused where it is made."""
        self.assertRaises(ValueError, pack, "x", bytes(MAX_MESSAGE))
