"""Messages between the core and its other processes: a kind, plain fields, and a payload of bytes."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

MAX_MESSAGE = 128 * 1024
"""The maximum size of a message in bytes, well below the limit of Linux for such sockets."""


@frozen
class Message:
    """One message. *fields* are plain values; The kind determines the meaning of *payload*."""

    kind: str
    fields: dict[str, Any]
    payload: bytes


def pack(kind: str, payload: bytes = b"", **fields: object) -> bytes:
    """Return a message as bytes; ValueError if it is too long."""
    data = json.dumps([kind, fields]).encode() + b"\n" + payload
    if len(data) > MAX_MESSAGE:
        raise ValueError(f"the message {kind} is too long: {len(data)} bytes")
    return data


def unpack(data: bytes) -> Message:
    """Return the message; ValueError if it is malformed."""
    head, newline, payload = data.partition(b"\n")
    if not newline:
        raise ValueError("a message without a head")
    match json.loads(head):
        case [str(kind), dict(fields)]:
            return Message(kind, fields, payload)
    raise ValueError("the head of a message is malformed")
