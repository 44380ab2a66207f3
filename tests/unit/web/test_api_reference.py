"""The reference of the API, and what the code answers."""

from __future__ import annotations

import re
from typing import get_args

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.spec import errors
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.routes import Route, parse_route
from oci_registry.web.root import Ready, Root
from tests.support.tables import PROJECT, REFERENCE, table_below, tables
from tests.unit.web.support import works

PAGE = REFERENCE / "http-api.md"
_CODE = re.compile(r"`([^`]+)`")
_SET = re.compile(
    r'set(?:Header|RawHeaders)\(\s*b"([A-Za-z-]+)"|"((?:[A-Z][A-Za-z]*-?)+)"(?:: |\] = )'
)
_OF_ERRORS = re.compile(r'headers=\{"([A-Za-z-]+)"')
_READ = re.compile(r'(?:getHeader|\.header)\(b?"([a-z-]+)"\)')
DIGEST = f"sha256:{'a' * 64}"


def source(room: str) -> str:
    """Return the text of the modules of a room, or of one."""
    path = PROJECT / "oci_registry" / room
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return "\n".join(file.read_text("utf-8") for file in files)


def first_words(heading: str) -> set[str]:
    """Return the names of headers that a table is about, in lower case."""
    return {
        name.partition(":")[0].lower()
        for row in table_below(PAGE, heading)
        for name in _CODE.findall(row[0])
    }


class Api(SynchronousTestCase):
    """docs/reference/http-api.md."""

    def test_paths(self) -> None:
        """Every path that answers is there, and no other."""
        told = {path for row in tables(PAGE)[0] for path in _CODE.findall(row[0])}
        watching = {path for path in told if not path.startswith("/v2")}
        ready = Ready(works)
        root = Root(ready, metrics=Metrics())
        self.assertEqual({f"/{name.decode()}" for name in root.listNames()}, watching)
        parts = {"<name>": "a/b", "<tag or digest>": DIGEST, "<digest>": DIGEST, "<tag>": "1"}
        routes = set()
        for path in told - watching:
            asked = re.sub("<[^>]+>", lambda part: parts[part[0]], path)
            routes.add(type(parse_route(asked.encode(), b"")))
        self.assertEqual(set(get_args(Route)), routes)

    def test_headers_of_responses(self) -> None:
        """Every header that is sent is there, and no other."""
        sent = {"".join(names).lower() for names in _SET.findall(source("web"))}
        sent |= {name.lower() for name in _OF_ERRORS.findall(source("spec/errors.py"))}
        self.assertEqual(sent, first_words("Headers of responses"))

    def test_headers_of_requests(self) -> None:
        """Every header that is heeded is there, and no other."""
        self.assertEqual(set(_READ.findall(source("web"))), first_words("Headers of requests"))


def sent_errors() -> set[tuple[int, str]]:
    """Return status and code of each kind of error that the code knows how to raise."""
    others = "\n".join(
        file.read_text("utf-8")
        for file in sorted((PROJECT / "oci_registry").rglob("*.py"))
        if file.name != "errors.py" or file.parent.name != "spec"
    )
    words = set(re.findall(r"\w+", others))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {
        (kind.status, kind.code)
        for kind in kinds
        if issubclass(kind, RegistryError) and kind.__name__ in words
    }


class Errors(SynchronousTestCase):
    """docs/reference/errors.md."""

    def test_all(self) -> None:
        """Every status and code that can be sent is there, and no other."""
        rows = tables(REFERENCE / "errors.md")[0]
        self.assertEqual(sent_errors(), {(int(row[0]), row[1].strip("`")) for row in rows})
