"""The daemon has as many open files as the system allows."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from oci_registry import service


class FileLimit(SynchronousTestCase):
    """One or two open files are needed per client."""

    def test_raised(self) -> None:
        """The limit is raised to what the system allows, and stays where it is there already."""
        for soft, hard, expected in ((1024, 4096, [(4096, 4096)]), (4096, 4096, [])):
            changed: list[tuple[int, int]] = []
            self.patch(resource, "getrlimit", lambda kind, limits=(soft, hard): limits)
            self.patch(resource, "setrlimit", lambda kind, limits, to=changed: to.append(limits))
            service._raise_file_limit()
            self.assertEqual(expected, changed)
