"""Schemas of Kubernetes' objects."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tools.kube_schemas import (
    file_name,
    from_resources,
    from_swagger,
    or_null,
    read_documents,
    strict,
    write,
)

META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
THING = {
    "type": "object",
    "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": f"#/definitions/{META}"},
        "spec": {"$ref": "#/definitions/ThingSpec"},
    },
    "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Thing"}],
}
SWAGGER: dict[str, Any] = {
    "definitions": {
        META: {"type": "object", "properties": {"name": {"type": "string"}}},
        QUANTITY: {"type": "string", "description": "a number with a suffix"},
        "Thing": THING,
        "ThingSpec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"$ref": f"#/definitions/{QUANTITY}"},
                "inner": {"$ref": "#/definitions/ThingSpec"},
            },
        },
        "Everywhere": {
            **THING,
            "x-kubernetes-group-version-kind": [
                {"group": each, "version": "v1", "kind": "Everywhere"} for each in ("", "apps")
            ],
        },
        "Unrelated": {"type": "object"},
    }
}
RESOURCE = """
kind: CustomResourceDefinition
spec:
  group: example.com
  names: {kind: Widget}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            properties:
              comparison: {type: string, enum: [=, '>']}
"""


class Strict(SynchronousTestCase):
    """strict."""

    def test_unknown_fields(self) -> None:
        """An object has the fields that are named, at every depth, and no others."""
        inner = {"type": "object", "properties": {"b": {"type": "string"}}}
        outer = {"type": "object", "properties": {"a": {"type": "array", "items": inner}}}
        made = strict(outer)
        self.assertIs(False, made["additionalProperties"])
        self.assertIs(False, made["properties"]["a"]["items"]["additionalProperties"])

    def test_maps(self) -> None:
        """Where any key may stand, the values are as they are described."""
        made = strict({"type": "object", "additionalProperties": {"type": "string"}})
        self.assertEqual({"type": "object", "additionalProperties": {"type": "string"}}, made)

    def test_open(self) -> None:
        """What keeps unknown fields stays open."""
        given = {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True}
        self.assertNotIn("additionalProperties", strict(given))

    def test_null(self) -> None:
        """A field that may be left out may be null, one that must be there may not."""
        text = {"type": "string"}
        made = strict({"type": "object", "required": ["a"], "properties": {"a": text, "b": text}})
        self.assertEqual({"type": "string"}, made["properties"]["a"])
        self.assertEqual({"type": ["string", "null"]}, made["properties"]["b"])
        self.assertEqual(["a"], made["required"])

    def test_nullable(self) -> None:
        """What says itself that it may be null may be."""
        self.assertEqual({"type": ["string", "null"]}, strict({"type": "string", "nullable": True}))

    def test_int_or_string(self) -> None:
        """A number of a port or its name is either, however this is written."""
        for given in (
            {"type": "string", "format": "int-or-string"},
            {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
            },
        ):
            self.assertEqual({"type": ["integer", "string"]}, strict(given))

    def test_bytes(self) -> None:
        """Bytes are base64, whole and with nothing around them."""
        pattern = strict({"type": "string", "format": "byte"})["pattern"]
        for text, right in {
            "": 1,
            "YQ==": 1,
            "YWI=": 1,
            "YWJj": 1,
            "a": 0,
            "YQ": 0,
            "YQ==\n": 0,
        }.items():
            self.assertEqual(bool(right), re.search(pattern + r"\Z", text) is not None, text)

    def test_parts(self) -> None:
        """A part beside others forbids nothing that the others may name."""
        made = strict({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]})
        self.assertEqual([{"properties": {"a": {"type": "string"}}}], made["anyOf"])

    def test_words(self) -> None:
        """Limits are kept, descriptions are not."""
        given = {"type": "integer", "minimum": 1, "description": "how many", "format": "int32"}
        self.assertEqual({"type": "integer", "minimum": 1}, strict(given))


class OrNull(SynchronousTestCase):
    """or_null."""

    def test_alternatives(self) -> None:
        """Null stands beside a reference and beside a list of values, which have no place for it."""
        for given in ({"$ref": "#/definitions/A"}, {"type": "string", "enum": ["a"]}):
            self.assertEqual({"anyOf": [given, {"type": "null"}]}, or_null(given))

    def test_anything(self) -> None:
        """What allows everything allows null already."""
        self.assertEqual({}, or_null({}))


class Kinds(SynchronousTestCase):
    """from_swagger and from_resources."""

    def schema(self) -> dict[str, Any]:
        """Return the one schema of the swagger file."""
        ((name, schema),) = from_swagger(SWAGGER)
        self.assertEqual("thing_v1_v1.json", name)
        return schema

    def test_stored_kinds(self) -> None:
        """Only what has a group, a version and a kind of its own has a schema, which says so."""
        schema = self.schema()
        self.assertEqual({"enum": ["v1"]}, schema["properties"]["apiVersion"])
        self.assertEqual({"enum": ["Thing"]}, schema["properties"]["kind"])
        self.assertEqual(["apiVersion", "kind", "metadata"], schema["required"])

    def test_alone(self) -> None:
        """A schema holds all that it refers to, what refers to itself too, and nothing else."""
        definitions = self.schema()["definitions"]
        self.assertEqual({META, QUANTITY, "ThingSpec"}, set(definitions))
        self.assertIs(False, definitions["ThingSpec"]["additionalProperties"])

    def test_quantities(self) -> None:
        """A quantity is a number, or one with a suffix that is known."""
        text, number = self.schema()["definitions"][QUANTITY]["anyOf"]
        self.assertEqual({"type": "number"}, number)
        for given, right in {
            "1": 1, "0.5": 1, "100m": 1, "64Mi": 1, "1e3": 1, "10k": 1, "64mi": 0, "1 Gi": 0, "": 0, "x": 0,
        }.items():  # fmt: skip
            self.assertEqual(bool(right), re.search(text["pattern"], given) is not None, given)

    def test_custom_resources(self) -> None:
        """Each version of a resource has a schema; its metadata are those of all objects."""
        ((name, schema),) = from_resources(read_documents(RESOURCE), SWAGGER)
        self.assertEqual("widget_example.com_v1.json", name)
        self.assertEqual({"enum": ["example.com/v1"]}, schema["properties"]["apiVersion"])
        self.assertEqual({"$ref": f"#/definitions/{META}"}, schema["properties"]["metadata"])
        self.assertEqual({META}, set(schema["definitions"]))
        self.assertIs(False, schema["additionalProperties"])

    def test_other_documents(self) -> None:
        """What defines no resource gives no schema."""
        self.assertEqual([], list(from_resources([{"kind": "ConfigMap"}], SWAGGER)))

    def test_equals_sign(self) -> None:
        """A bare = in a definition is that text."""
        schema = dict(from_resources(read_documents(RESOURCE), SWAGGER))[
            "widget_example.com_v1.json"
        ]
        spec = schema["properties"]["spec"]
        self.assertEqual(["=", ">"], spec["properties"]["comparison"]["anyOf"][0]["enum"])


class Files(SynchronousTestCase):
    """What is written."""

    def test_names(self) -> None:
        """The version stands for the group of those that have none, as kubeconform has it."""
        self.assertEqual("pod_v1_v1.json", file_name("", "v1", "Pod"))
        self.assertEqual("deployment_apps_v1.json", file_name("apps", "v1", "Deployment"))

    def test_write(self) -> None:
        """Each schema is a file of the directory, which is made."""
        directory = Path(self.mktemp()) / "deep"
        self.assertEqual(1, write(directory, [("a_v1_v1.json", {"type": "object"})]))
        self.assertEqual({"type": "object"}, json.loads((directory / "a_v1_v1.json").read_text()))

    def test_odd_name(self) -> None:
        """A name that leads elsewhere is refused."""
        with self.assertRaises(ValueError):
            write(Path(self.mktemp()), [("../a.json", {})])
