"""The description of the API."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.admin.openapi import document
from oci_registry.admin.routes import PREFIX, RouteTable, Served
from oci_registry.events import KINDS, SUMMARY
from tests.support.routes import all_routes
from tests.support.tables import REFERENCE, table_below

PAGE = REFERENCE / "admin-api.md"
FILE = REFERENCE / "openapi.json"


class Document(SynchronousTestCase):
    """What is made of the routes."""

    def setUp(self) -> None:
        self.routes: RouteTable = all_routes()
        self.document: dict[str, Any] = document(self.routes)

    def operations(self) -> list[dict[str, Any]]:
        paths = self.document["paths"].values()
        return [operation for path in paths for operation in path.values()]

    def test_every_route(self) -> None:
        """Every route is described, and nothing else."""
        described = {
            (method.upper(), path)
            for path, methods in self.document["paths"].items()
            for method in methods
        }
        routes = {(route.method, PREFIX + route.path) for route in self.routes.all}
        self.assertEqual(routes, described)
        names = [operation["operationId"] for operation in self.operations()]
        self.assertEqual(len(names), len(set(names)))

    def test_parameters(self) -> None:
        """Each has all parameters of its route, with a text and the type."""
        by_name = {operation["operationId"]: operation for operation in self.operations()}
        for route in self.routes.all:
            described = by_name[route.name].get("parameters", [])
            self.assertEqual([p.name for p in route.query], [p["name"] for p in described])
            for parameter in described:
                self.assertTrue(parameter["description"])
                self.assertIn("type", parameter["schema"])
            if not isinstance(route, Served) and route.body:
                body = by_name[route.name]["requestBody"]["content"]["application/json"]["schema"]
                self.assertEqual([p.name for p in route.body], list(body["properties"]))
                self.assertFalse(body["additionalProperties"])

    def test_references(self) -> None:
        """Every reference leads to a schema, and every schema is used and has a text."""
        text = json.dumps(self.document)
        used = set(re.findall(r"#/components/schemas/(\w+)", text))
        schemas = self.document["components"]["schemas"]
        self.assertEqual(used, set(schemas))
        self.assertTrue(all(schema["description"] for schema in schemas.values()))

    def test_file(self) -> None:
        """The file in the reference is this document: write it again when this fails."""
        written = FILE.read_text("utf-8")
        self.assertEqual(json.dumps(self.document, indent=2) + "\n", written)

    def test_page(self) -> None:
        """The page names every path with its methods, every kind of event, and every code."""
        told = {row[0].strip("`"): set(row[1].split(", ")) for row in table_below(PAGE, "Requests")}
        paths = {
            path: {method.upper() for method in methods}
            for path, methods in self.document["paths"].items()
        }
        self.assertEqual(paths, told)
        kinds = {row[0].strip("`") for row in table_below(PAGE, "Events")}
        self.assertEqual({*KINDS, SUMMARY}, kinds)
