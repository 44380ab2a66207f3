"""Converts answers to JSON and back: frozen classes, by the types of their fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from attrs import fields

PIECE = 2000
"""Values that are encoded at once; to encode so many takes one or two milliseconds."""


class Answer:
    """The base of frozen classes that are also JSON objects with the same fields.

    Fields are text, numbers, booleans, other answers, tuples of these, JSON mappings, or None if the
    type allows it.
    """

    __slots__ = ()

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {name: _plain(getattr(self, name)) for name in _names(self)}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read the JSON object; unknown fields are ignored. `ValueError` says which field is wrong."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{cls.__name__}: not a JSON object")
        found, hints = {}, _hints(cls)  # type: ignore[arg-type]
        for field in fields(cls):  # type: ignore[arg-type]
            try:
                found[field.name] = _read(value.get(field.name), hints[field.name])
            except ValueError as error:
                raise ValueError(f"{cls.__name__}.{field.name}: {error}") from None
        return cls(**found)


def is_long(answer: Answer) -> bool:
    """Return whether an answer takes more than a moment to encode: then it is for a thread."""
    return _count(answer, PIECE) > PIECE


def encode(answer: Answer, piece: int = PIECE) -> bytes:
    """Return the JSON text of an answer, encoded in pieces of about so many values.

    A thread that does this for a long answer lets others run now and then: no call encodes much of it.
    """
    return "".join(_pieces(answer, piece)).encode()


def _pieces(value: object, piece: int) -> Iterator[str]:
    """Yield the JSON text of a value, each time of about *piece* values in it."""
    if not isinstance(value, Answer | tuple) or _count(value, piece) <= piece:
        yield _text(_plain(value))
    elif isinstance(value, Answer):
        begin = "{"
        for name in _names(value):
            yield f'{begin}"{name}":'
            yield from _pieces(getattr(value, name), piece)
            begin = ","
        yield "}"
    else:
        begin = "["
        for some in _batches(value, piece):
            yield begin
            if len(some) == 1:
                yield from _pieces(some[0], piece)
            else:
                yield _text(_plain(some))[1:-1]
            begin = ","
        yield "]"


def _batches(values: tuple[Any, ...], piece: int) -> Iterator[tuple[Any, ...]]:
    """Yield the values, as many at once as have about *piece* values in them, but at least one."""
    start, taken = 0, 0
    for at, each in enumerate(values):
        count = _count(each, piece)
        if at > start and taken + count > piece:
            yield values[start:at]
            start, taken = at, 0
        taken += count
    yield values[start:]


def _count(value: object, most: int) -> int:
    """Return how many values there are in a value, itself included, or some number above *most*."""
    parts: Iterable[object]
    if isinstance(value, Answer):
        count = 1 + len(_names(value))
        parts = (getattr(value, name) for name in _with_parts(type(value)))  # type: ignore[arg-type]
    elif isinstance(value, tuple):
        count, parts = 1 + len(value), value
    elif isinstance(value, Mapping):
        return 1 + len(value)
    else:
        return 1
    for each in parts:
        if count > most:
            break
        count += _count(each, most - count) - 1
    return count


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _names(answer: Answer) -> tuple[str, ...]:
    return _names_of(type(answer))  # type: ignore[arg-type]


@cache
def _names_of(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _with_parts(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields whose values may have parts."""
    hints = get_type_hints(kind)
    return tuple(name for name in hints if not _is_simple(hints[name]))


def _is_simple(kind: Any) -> bool:
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return {str, int, float, bool, NoneType}.issuperset(kinds)


@cache
def _hints(kind: type[Any]) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _plain(value: Any) -> object:
    if isinstance(value, Answer):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _read(value: Any, kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        if value is None and NoneType in get_args(kind):
            return None
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    origin = get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError("not a list")
        return tuple(_read(each, get_args(kind)[0]) for each in value)
    if origin is not None:
        if not isinstance(value, Mapping):
            raise ValueError("not a JSON object")
        return value
    if issubclass(kind, Answer):
        return kind.from_json(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"not of the type {kind.__name__}")
    return value
