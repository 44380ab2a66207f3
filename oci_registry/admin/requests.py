"""Requests of the admin API with their bodies, and the parsing of parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.web.http import HTTPChannel

from oci_registry.admin.fields import Parameter, Several
from oci_registry.admin.problems import BodyTooLarge, InvalidRequest, NotJson
from oci_registry.spec.errors import shown
from oci_registry.web.site import RegistryRequest

MAX_BODY = 64 * 1024
"""The maximum size of a body in bytes."""
MOST_FIELDS = 100
"""The maximum number of fields in a query."""


class AdminRequest(RegistryRequest):
    """A request whose body is kept, up to `MAX_BODY` bytes."""

    def __init__(self, channel: HTTPChannel, queued: object = None) -> None:
        super().__init__(channel, queued)
        self._body = bytearray()
        self._received = 0
        self.check_again: Callable[[AdminRequest], None] = lambda _: None
        """Raises if this request would not be admitted now; set when it is admitted."""

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body, if it is not too large."""
        self._received += len(data)
        if self._received <= MAX_BODY:
            self._body += data
        else:
            self._body.clear()

    def body(self) -> bytes:
        """Return the body; raise `BodyTooLarge`."""
        if self._received > MAX_BODY:
            raise BodyTooLarge.than(MAX_BODY)
        return bytes(self._body)


def read_query(query: bytes, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the values of a query; raise `InvalidRequest` if one is invalid, missing or unknown."""
    given = _split(query)
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            raise InvalidRequest.at(f"query parameter {shown(name, 40)}", _unknown(known))
    values: dict[str, Any] = {}
    for parameter in parameters:
        texts, where = given.get(parameter.name, []), f"query parameter {parameter.name}"
        if not texts:
            values[parameter.name] = _missing(parameter, where)
            continue
        try:
            if isinstance(parameter.kind, Several):
                values[parameter.name] = parameter.kind.from_texts(texts)
                continue
            if len(texts) > 1:
                raise ValueError("is given more than once")
            values[parameter.name] = parameter.kind.from_text(texts[0])
        except ValueError as error:
            raise InvalidRequest.at(where, str(error)) from None
    return values


def read_body(
    request: AdminRequest, media_type: str | None, parameters: Sequence[Parameter]
) -> dict[str, Any]:
    """Return the values in the JSON object of a body; raise as `read_query`, `NotJson` or `BodyTooLarge`."""
    body = request.body()
    required = any(parameter.required for parameter in parameters)
    if not body and not required:
        return {parameter.name: parameter.default for parameter in parameters}
    if not parameters:
        raise InvalidRequest.at("body", "this request has no body")
    # A form on a page of another site cannot send this type without a CORS preflight.
    if (media_type or "").partition(";")[0].strip().lower() != "application/json":
        raise NotJson("send the body as application/json")
    document = _parse(body)
    known = {parameter.name: parameter for parameter in parameters}
    for name in document:
        if name not in known:
            raise InvalidRequest.at(f"field {shown(name, 40)}", _unknown(known))
    values: dict[str, Any] = {}
    for parameter in parameters:
        where = f"field {parameter.name}"
        if parameter.name not in document:
            values[parameter.name] = _missing(parameter, where)
            continue
        try:
            values[parameter.name] = parameter.kind.from_json(document[parameter.name])
        except ValueError as error:
            raise InvalidRequest.at(where, str(error)) from None
    return values


def _missing(parameter: Parameter, where: str) -> Any:
    if parameter.required:
        raise InvalidRequest.at(where, "is required")
    return parameter.default


def _unknown(known: dict[str, Parameter]) -> str:
    return f"is not known here; known: {', '.join(known) or 'none'}"


def _split(query: bytes) -> dict[str, list[str]]:
    """Return the fields of a query by name."""
    found: dict[str, list[str]] = {}
    pieces = [piece for piece in query.split(b"&") if piece]
    if len(pieces) > MOST_FIELDS:
        raise InvalidRequest.at("query", f"has more than {MOST_FIELDS} fields")
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        found.setdefault(_decoded(name), []).append(_decoded(value))
    return found


def _decoded(text: bytes) -> str:
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise InvalidRequest.at("query", "is not UTF-8") from None


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_no_constant, object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise InvalidRequest.at("body", "is not UTF-8") from None
    except _Twice as error:
        raise InvalidRequest.at("body", f"has {shown(str(error), 40)} twice") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest.at("body", f"is not JSON: {where}") from None
    except (RecursionError, ValueError):
        raise InvalidRequest.at("body", "is not JSON, or nested too deeply") from None
    if not isinstance(document, dict):
        raise InvalidRequest.at("body", "must be a JSON object")
    return document


def _no_constant(text: str) -> None:
    raise ValueError(text)


class _Twice(ValueError):
    """An object has this name twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; raise `_Twice`."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name)
        found[name] = value
    return found
