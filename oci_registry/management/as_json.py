"""Converts answers to JSON and back: frozen classes, by the types of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from attrs import fields


class Answer:
    """The base of frozen classes that are also JSON objects with the same fields.

    Fields are text, numbers, booleans, other answers, tuples of these, JSON mappings, or None if the
    type allows it.
    """

    __slots__ = ()

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(type(self))}  # type: ignore[arg-type]

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
