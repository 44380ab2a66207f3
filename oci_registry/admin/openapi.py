"""The OpenAPI document, generated from the routes and the types of their answers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from attrs import fields

from oci_registry.admin.fields import Parameter, Several
from oci_registry.admin.routes import PREFIX, AnyRoute, Route, RouteTable, Served
from oci_registry.management.as_json import Answer

VERSION = "1.0"
"""The version of the API: the first number is in the paths, the second grows with additions."""
_PLAIN: Mapping[type, str] = MappingProxyType(
    {str: "string", int: "integer", float: "number", bool: "boolean"}
)
_ALWAYS = (400, 401, 403, 500, 503)
_OF_BODIES = (413, 415)
_TITLES: Mapping[int, str] = MappingProxyType(
    {
        400: "A parameter or the body is wrong",
        401: "The token is missing or wrong",
        403: "The API is not served here, or not to a page of another site",
        404: "There is no such thing",
        409: "It is pinned or in use, or this is not possible at present",
        413: "The body is too large",
        415: "The body is not JSON",
        500: "Internal error",
        502: "The registry cannot be reached, or its response cannot be used",
        503: "The store cannot be used, or too much is asked at once",
        504: "The registry did not answer in time",
    }
)
_ERROR = {
    "type": "object",
    "description": "Why a request has failed.",
    "required": ["errors"],
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "detail": {
                        "type": "object",
                        "properties": {"where": {"type": "string"}},
                    },
                },
            },
        }
    },
}


def document(routes: RouteTable) -> dict[str, Any]:
    """Return the document for these routes."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes.all:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "oci-registry admin API",
            "version": VERSION,
            "description": "Look after a running mirror. Times are seconds since the epoch, sizes bytes.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: AnyRoute, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.group],
        "summary": route.text,
        "responses": _responses(route, schemas),
    }
    if route.query:
        operation["parameters"] = [_parameter(each) for each in route.query]
    if isinstance(route, Route) and route.body:
        operation["requestBody"] = {
            "required": any(each.required for each in route.body),
            "content": {"application/json": {"schema": _body(route)}},
        }
    return operation


def _responses(route: AnyRoute, schemas: dict[str, Any]) -> dict[str, Any]:
    if isinstance(route, Served):
        statuses = set(_ALWAYS)
        kind = {"type": "object"} if route.media_type.endswith("json") else {"type": "string"}
        content, status = {route.media_type: {"schema": kind}}, 200
    else:
        statuses = {*_ALWAYS, *route.errors, *(_OF_BODIES if route.method != "GET" else ())}
        content, status = (
            {"application/json": {"schema": _ref(route.answer, schemas)}},
            route.status,
        )
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    failures = {
        str(each): {"description": _TITLES[each], "content": error} for each in sorted(statuses)
    }
    return {str(status): {"description": route.text, "content": content}, **failures}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": parameter.name,
        "in": "query",
        "description": parameter.text,
        "required": parameter.required,
        "schema": _with_default(parameter),
    }
    if isinstance(parameter.kind, Several):
        found |= {"style": "form", "explode": True}
    return found


def _body(route: Route) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [each.name for each in route.body if each.required],
        "properties": {
            each.name: {**_with_default(each), "description": each.text} for each in route.body
        },
    }


def _with_default(parameter: Parameter) -> dict[str, Any]:
    schema = dict(parameter.kind.schema)
    if parameter.default not in (None, ()):
        schema["default"] = parameter.default
    return schema


def _ref(answer: type[Answer], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a reference to the schema of a type of answers, which is added to *schemas*."""
    name = answer.__name__
    if name not in schemas:
        # First, since an answer may contain answers of its own type.
        schema = schemas[name] = {"type": "object", "description": _described(answer)}
        hints = get_type_hints(answer)
        names = [each.name for each in fields(answer)]  # type: ignore[arg-type]
        schema["required"] = names
        schema["properties"] = {each: _schema(hints[each], schemas) for each in names}
    return {"$ref": f"#/components/schemas/{name}"}


def _schema(hint: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        (kind,) = (each for each in get_args(hint) if each is not NoneType)
        schema = _schema(kind, schemas)
        if "type" in schema:
            return {**schema, "type": [schema["type"], "null"]}
        return {"oneOf": [schema, {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema(get_args(hint)[0], schemas)}
    if origin is not None:
        return {"type": "object"}
    if issubclass(hint, Answer):
        return _ref(hint, schemas)
    return {"type": _PLAIN[hint]}


def _described(answer: type[Answer]) -> str:
    """Return the docstring of a type of answers as Markdown, with the names of fields as code."""
    text = inspect.cleandoc(answer.__doc__ or "")
    return re.sub(r"\*(\w+)\*", r"`\1`", text).replace("``", "`")
