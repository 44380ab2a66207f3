"""What a command does for each of several images."""

from __future__ import annotations

import json
from argparse import Namespace
from io import StringIO
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, FAILED, NOT_FOUND, CommandFailed
from oci_registry.commands.remote import AdminClient
from oci_registry.commands.sources import Asked, each_image
from oci_registry.management.answers import Refreshed
from oci_registry.management.problems import ManagementProblem, NotReady, NotStored
from oci_registry.storage.interfaces import StoreError


class EachImage(SynchronousTestCase):
    """Three images, the second of which cannot be dealt with."""

    def setUp(self) -> None:
        self.out, self.err = StringIO(), StringIO()
        common: Any = None
        output = Output("refresh", self.out, self.err, json=True)
        self.asked = Asked(Namespace(), common, output, {})

    def run_with(self, error: BaseException | None) -> tuple[int, list[str], list[str]]:
        """Return the status, what was done, and the problems."""

        def work(text: str) -> Refreshed:
            if text == "b" and error is not None:
                raise error
            return Refreshed(text, "sha256:0")

        status = each_image(self.asked, ["a", "b", "c"], work, "refreshed")
        done, problems = self.document()
        return status, done, problems

    def document(self) -> tuple[list[str], list[str]]:
        """Return what was done, and the problems; there is one document."""
        document = json.loads(self.out.getvalue())
        return [each["name"] for each in document["refreshed"]], document["problems"]

    def test_all(self) -> None:
        """All of them are done."""
        self.assertEqual((DONE, ["a", "b", "c"], []), self.run_with(None))

    def test_missing(self) -> None:
        """The others are done if one is missing."""
        self.assertEqual((NOT_FOUND, ["a", "c"], ["gone"]), self.run_with(NotStored("gone")))

    def test_failed(self) -> None:
        """So they are if a request fails."""
        self.assertEqual((FAILED, ["a", "c"], ["oh"]), self.run_with(ManagementProblem("oh")))

    def test_store_fails(self) -> None:
        """So they are if the store fails, and the message says for which image."""
        self.assertEqual((FAILED, ["a", "c"], ["b: full"]), self.run_with(StoreError("full")))

    def test_lost(self) -> None:
        """If the daemon is gone the rest is not tried, and the document has what was done."""
        self.assertEqual((FAILED, ["a"], ["lost"]), self.run_with(CommandFailed("lost")))

    def test_interrupted(self) -> None:
        """If somebody interrupts the command, the document has what was done."""
        self.assertRaises(KeyboardInterrupt, self.run_with, KeyboardInterrupt())
        self.assertEqual((["a"], []), self.document())


class Refusals(SynchronousTestCase):
    """What a daemon answers."""

    def problem(self, status: int, code: str) -> Exception:
        document = {"errors": [{"code": code, "message": "why"}]}
        return AdminClient("there", "/there")._problem(status, document)

    def test_one_image(self) -> None:
        """What concerns one request is no reason to give up the rest."""
        for status, code in ((503, "BUSY"), (500, "FAILED"), (400, "INVALID_REQUEST")):
            problem = self.problem(status, code)
            self.assertIsInstance(problem, ManagementProblem)
            self.assertEqual("there: why", str(problem))
        self.assertIsInstance(self.problem(503, "UNAVAILABLE"), NotReady)

    def test_all_images(self) -> None:
        """What concerns each request is."""
        for status, code in ((401, "UNAUTHORIZED"), (403, "FORBIDDEN")):
            self.assertIsInstance(self.problem(status, code), CommandFailed)
