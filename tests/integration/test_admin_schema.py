"""A daemon answers as the OpenAPI document of its admin API says, whatever it is sent."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest

from tests.support.daemon import MirrorTestCase, reactor, running, until

TOKEN = "0123456789-abcdefghij"
# A list that is too long may be too large as well, which is noticed first.
CONFIGURATION = """\
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
"""
CHARACTERS = Path(__file__).parents[2] / ".hypothesis" / "unicode_data"
EXAMPLES = 2
"""Requests made up for each operation, besides those at the edges of its parameters."""
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(sys.path)}
"""No more variables than needed: its client looks at all of them for proxies with every request."""


class Schema(MirrorTestCase):
    """Requests that schemathesis makes of the document: right ones, wrong ones, with and without the token."""

    timeout = 300

    @running
    async def test_conformance(self) -> None:
        """Every response has the status, type and content that the document states; wrong ones are refused."""
        if importlib.util.find_spec("schemathesis") is None:
            raise SkipTest("schemathesis is not installed")
        self.registry.add_image("library/app", "1")
        daemon = await self.start(admin_listen=("tcp:0:interface=127.0.0.1",), admin_token=TOKEN)
        await self.client.get("/v2/library/app/manifests/1")
        await until(lambda: not len(daemon.parts.records))
        port = await daemon.parts.ports.services[1]._waitingForPort  # type: ignore[attr-defined]
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "schemathesis.toml").write_text(CONFIGURATION)
        # Which characters there are is known already; to find it out takes seconds.
        (folder / ".hypothesis").mkdir()
        (folder / ".hypothesis" / CHARACTERS.name).symlink_to(CHARACTERS)
        url = f"http://127.0.0.1:{port.getHost().port}/api/v1/openapi.json"
        args = ["-m", "schemathesis.cli", "run", url, "--header", f"Authorization: Bearer {TOKEN}"]
        args += ["--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES)]
        # The same requests each time.
        args += ["--generation-deterministic", "--no-shrink", "--continue-on-failure"]
        # A response that does not end; and a name that the schema of a text allows may be none of an image.
        args += ["--exclude-operation-id", "events", "--exclude-checks", "positive_data_acceptance"]
        out, err, status = await getProcessOutputAndValue(
            sys.executable, args, ENVIRONMENT, str(folder), reactor
        )
        self.assertEqual(0, status, (out + err).decode("utf-8", "replace"))
        # It has asked for something.
        self.assertIn(b" passed", out)
