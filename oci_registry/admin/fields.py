"""Parameters of the admin API: their valid values, in queries and in JSON, and their schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen


class Kind(Protocol):
    """The type of a value; methods raise `ValueError` with the reason."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the value."""

    def from_text(self, text: str) -> Any:
        """Return the value in a query."""

    def from_json(self, value: object) -> Any:
        """Return the value in a body."""


def _text_in(value: object) -> str:
    """Return a text in JSON."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


@frozen
class Text:
    """A text that is not empty, of at most *longest* characters, without control characters."""

    longest: int = 1024

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema."""
        return {"type": "string", "minLength": 1, "maxLength": self.longest}

    def from_text(self, text: str) -> str:
        """Return the text."""
        if not text:
            raise ValueError("is empty")
        if len(text) > self.longest:
            raise ValueError(f"has more than {self.longest} characters")
        if not text.isprintable():
            raise ValueError("contains control characters")
        return text

    def from_json(self, value: object) -> str:
        """Return the text."""
        return self.from_text(_text_in(value))


@frozen
class Whole:
    """A whole number from *least* to *most*."""

    least: int
    most: int

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def from_text(self, text: str) -> int:
        """Return the number."""
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise ValueError(f"must be a whole number from {self.least} to {self.most}")
        return self.from_json(int(text))

    def from_json(self, value: object) -> int:
        """Return the number."""
        # In JSON Schema, 2.0 is also an integer.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number")
        if not self.least <= value <= self.most:
            raise ValueError(f"must be from {self.least} to {self.most}")
        return value


@frozen
class Truth:
    """True or false."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema."""
        return {"type": "boolean"}

    def from_text(self, text: str) -> bool:
        """Return the value."""
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"

    def from_json(self, value: object) -> bool:
        """Return the value."""
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value


@frozen
class Choice:
    """One of several words."""

    words: Sequence[str]

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema."""
        return {"type": "string", "enum": list(self.words)}

    def from_text(self, text: str) -> str:
        """Return the word."""
        if text not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}")
        return text

    def from_json(self, value: object) -> str:
        """Return the word."""
        return self.from_text(_text_in(value))


@frozen
class Several:
    """A list of *least* to *most* values of a *kind*; in a query the parameter is repeated."""

    kind: Kind
    most: int
    least: int = 0

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema."""
        schema = {"type": "array", "items": self.kind.schema, "maxItems": self.most}
        return schema | {"minItems": self.least} if self.least else schema

    def from_texts(self, texts: Sequence[str]) -> tuple[Any, ...]:
        """Return the values."""
        if len(texts) > self.most:
            raise ValueError(f"is given more than {self.most} times")
        return tuple(self.kind.from_text(text) for text in texts)

    def from_text(self, text: str) -> tuple[Any, ...]:
        """Return the only value."""
        return self.from_texts([text])

    def from_json(self, value: object) -> tuple[Any, ...]:
        """Return the values."""
        if not isinstance(value, list):
            raise ValueError("must be a list")
        if len(value) > self.most:
            raise ValueError(f"has more than {self.most} values")
        if len(value) < self.least:
            raise ValueError(
                "is empty" if self.least == 1 else f"has fewer than {self.least} values"
            )
        return tuple(self.kind.from_json(each) for each in value)


@frozen
class Parameter:
    """A named value in the query or in the body. *default*: its value if it is not given."""

    name: str
    kind: Kind
    text: str
    required: bool = False
    default: Any = None


Values = Mapping[str, Any]
"""The values of all parameters of a request, by name."""
