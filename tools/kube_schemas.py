"""Writes strict JSON schemas of Kubernetes' objects, for kubeconform, without a network.

``python -m tools.kube_schemas DIRECTORY SWAGGER [CRD ...]`` reads the ``swagger.json`` that comes with the
source of Kubernetes and the definitions of custom resources, and writes one file for each kind.  Strict means:
a field that the API server would not know is a mistake, and so is a value that it could not read.  A null is
allowed where a field may be left out, as the API server allows it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
LOCATION = "{{ .ResourceKind }}_{{ .Group }}_{{ .ResourceAPIVersion }}.json"
"""How kubeconform finds the files in their directory."""
_POINTER = "#/definitions/"
_INT_OR_STRING: Schema = {"type": ["integer", "string"]}
_BYTES: Schema = {
    "type": "string",
    "pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
# Types that the swagger file describes in words only.
_SPECIAL: Mapping[str, Schema] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        "anyOf": [
            {
                "type": "string",
                "pattern": r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$",
            },
            {"type": "number"},
        ]
    },
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _INT_OR_STRING,
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {"type": "object"},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"type": "object"},
}
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# What a schema says beside properties that is taken over as it is.
_KEPT = (
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "required",
    "uniqueItems",
)
_LISTS = ("allOf", "anyOf", "oneOf")


def strict(schema: Schema, *, partial: bool = False) -> Schema:
    """Return a JSON schema that allows what an OpenAPI schema names, and nothing else.

    ``partial`` is for what stands beside a full schema, as in ``anyOf``: it names some fields only.
    """
    if "$ref" in schema:
        return {"$ref": _POINTER + schema["$ref"].removeprefix(_POINTER)}
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        # Beside this there may be an anyOf that says the same, and a pattern for the string.
        return {**_INT_OR_STRING, **{key: schema[key] for key in _KEPT if key in schema}}
    if schema.get("format") == "byte":
        return dict(_BYTES)
    made: Schema = {key: schema[key] for key in _KEPT if key in schema}
    if "type" in schema:
        made["type"] = schema["type"]
    required = schema.get("required", ())
    properties = schema.get("properties")
    if properties is not None:
        made["properties"] = {
            name: strict(value, partial=partial)
            if name in required or partial
            else or_null(strict(value))
            for name, value in properties.items()
        }
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        made["additionalProperties"] = strict(more)
    elif properties is not None and not partial and not _open(schema):
        made["additionalProperties"] = False
    if "items" in schema:
        made["items"] = strict(schema["items"])
    for key in _LISTS:
        if key in schema:
            made[key] = [strict(each, partial=True) for each in schema[key]]
    if "not" in schema:
        made["not"] = strict(schema["not"], partial=True)
    return or_null(made) if schema.get("nullable") else made


def _open(schema: Schema) -> bool:
    return bool(
        schema.get("x-kubernetes-preserve-unknown-fields")
        or schema.get("additionalProperties") is True
    )


def or_null(schema: Schema) -> Schema:
    """Return a schema that allows null beside what it allows."""
    if set(schema) <= {"type", "items", "properties", "required", "additionalProperties"}:
        kind = schema.get("type")
        if kind is None:
            # It allows everything.
            return schema
        kinds = kind if isinstance(kind, list) else [kind]
        return {**schema, "type": [*kinds, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        target = schema.get("$ref")
        if isinstance(target, str):
            yield target.removeprefix(_POINTER)
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _with_definitions(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return a schema with all that it refers to, and what that refers to, inside."""
    needed: dict[str, Schema] = {}
    waiting = list(_references(schema))
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = _SPECIAL.get(name) or strict(definitions[name])
            waiting.extend(_references(needed[name]))
    return {"$schema": DRAFT, **schema, "definitions": needed}


def _named(schema: Schema, group: str, version: str, kind: str) -> Schema:
    """Return the schema of an object, which says what it is."""
    named = {
        **schema["properties"],
        "apiVersion": {"enum": [f"{group}/{version}" if group else version]},
        "kind": {"enum": [kind]},
    }
    required = sorted({*schema.get("required", ()), "apiVersion", "kind", "metadata"})
    return {**schema, "properties": named, "required": required}


def file_name(group: str, version: str, kind: str) -> str:
    """Return the name of a kind's file, as `LOCATION` has it.

    kubeconform takes the version for the group of those that have none.
    """
    return f"{kind.lower()}_{group or version}_{version}.json"


def from_swagger(swagger: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    """Give the name and the schema of each kind that an API server of Kubernetes stores."""
    definitions = swagger["definitions"]
    for definition in definitions.values():
        kinds = definition.get("x-kubernetes-group-version-kind", ())
        # What is in many groups is a part of requests.
        if len(kinds) != 1 or "metadata" not in definition.get("properties", {}):
            continue
        (names,) = kinds
        schema = _named(strict(definition), **names)
        yield file_name(**names), _with_definitions(schema, definitions)


def from_resources(
    documents: Iterable[Mapping[str, Any]], swagger: Mapping[str, Any]
) -> Iterator[tuple[str, Schema]]:
    """Give the name and the schema of each version of the custom resources that are defined."""
    for document in documents:
        if document.get("kind") != "CustomResourceDefinition":
            continue
        spec = document["spec"]
        for version in spec["versions"]:
            names = {
                "group": spec["group"],
                "version": version["name"],
                "kind": spec["names"]["kind"],
            }
            schema = _named(strict(version["schema"]["openAPIV3Schema"]), **names)
            schema["properties"]["metadata"] = {"$ref": _POINTER + _OBJECT_META}
            yield file_name(**names), _with_definitions(schema, swagger["definitions"])


class _Loader(yaml.SafeLoader):
    """Reads ``=``, an operator in some resources, as the text that it is."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def read_documents(text: str) -> list[Any]:
    """Return all documents of a YAML file that are not empty."""
    loaded = yaml.load_all(text, _Loader)
    return [document for document in loaded if document is not None]


def write(directory: Path, schemas: Iterable[tuple[str, Schema]]) -> int:
    """Write schemas into a directory and return how many."""
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, schema in schemas:
        if not re.fullmatch(r"[a-z0-9._-]+", name):
            raise ValueError(f"{name!r} is no name for a file")
        (directory / name).write_text(json.dumps(schema), "utf-8")
        count += 1
    return count


def main() -> int:
    """Write the schemas of everything that is named on the command line."""
    directory, source, *resources = map(Path, sys.argv[1:])
    swagger = json.loads(source.read_text("utf-8"))
    count = write(directory, from_swagger(swagger))
    for path in resources:
        documents = read_documents(path.read_text("utf-8"))
        count += write(directory, from_resources(documents, swagger))
    print(f"{count} schemas in {directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
