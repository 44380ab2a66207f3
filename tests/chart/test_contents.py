"""The entries of the upstream file in the values, which the schema of the values knows."""

from __future__ import annotations

import json

from oci_registry.config.hosts import HOST_KEYS, MAX_HOSTS
from oci_registry.config.upstreams import KEYS
from tests.chart.support import ChartTestCase
from tools.chart import helm

ENTRY = {"namespace": "example.com", "host": "registry.example.com"}


class Contents(ChartTestCase):
    """registry.upstream.config.contents."""

    def test_keys(self) -> None:
        """The schema has the keys of the upstream file, and its limits."""
        schema = json.loads((helm.CHART / "values.schema.json").read_text("utf-8"))["definitions"]
        entry = schema["upstreamEntry"]["properties"]
        self.assertEqual(set(KEYS), set(entry))
        self.assertEqual(set(HOST_KEYS), set(schema["upstreamHost"]["oneOf"][1]["properties"]))
        self.assertEqual(MAX_HOSTS, entry["hosts"]["maxItems"])

    def test_accepted(self) -> None:
        """What the daemon understands is accepted."""
        for entry in (
            ENTRY,
            {**ENTRY, "manifest_invalidation_time": "1d 12h", "blob_invalidation_time": 0},
            {**ENTRY, "connect_timeout": "500ms", "retries": 3, "trust_not_found": False},
            {**ENTRY, "username": "robot", "password": "1234", "proxy": "none", "ca_file": None},
            {**ENTRY, "min_age": "3d"},
            {**ENTRY, "min_age": {"library/*:latest": "3d", "*": 0}},
            {**ENTRY, "token_servers": ["auth.example.com"]},
            {"namespace": "*", "hosts": [{"host": "mirror.example.com:8080", "tls": False}, "*"]},
            {**ENTRY, "pin": ["team/*", "a:1"], "max_size": "1.5 TB"},
            {"namespace": "a.example", "host": "harbor.example.com:8443/proxy"},
        ):
            self.render(registry__upstream__config__contents=[entry])

    def test_refused(self) -> None:
        """A misspelt key and a value of the wrong type are refused, with their place."""
        for change, place in (
            ({"hots": "a"}, "hots"),
            ({"password": 20240611}, "password"),
            ({"tls": "false"}, "tls"),
            ({"host": "https://registry.example.com"}, "host"),
            ({"manifest_invalidation_time": 14}, "manifest_invalidation_time"),
            ({"connect_timeout": "0s"}, "connect_timeout"),
            ({"retries": 101}, "retries"),
            ({"hosts": [{"hots": "a"}]}, "hosts"),
            ({"hosts": []}, "hosts"),
            ({"pin": "team/*"}, "pin"),
            ({"max_size": "80%"}, "max_size"),
        ):
            said = self.refused(registry__upstream__config__contents=[{**ENTRY, **change}])
            self.assertIn("registry/upstream/config/contents/0", said)
            self.assertIn(place, said)
        for entry in ({"namespace": "without.host"}, {"host": "without.namespace"}):
            self.refused(registry__upstream__config__contents=[entry])
