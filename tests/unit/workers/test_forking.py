"""The forking process, without any process."""

from __future__ import annotations

import os
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.workers.forking import ForkingProcess
from oci_registry.workers.messages import unpack
from oci_registry.workers.packets import receive, socket_pair


class NoDescriptors(SynchronousTestCase):
    """One worker, which cannot be started."""

    def test_too_many_files(self) -> None:
        """If there are too many open files for its connection, it is started later, and that is reported."""
        core, control = socket_pair()
        self.addCleanup(core.close)
        self.addCleanup(control.close)
        forking = ForkingProcess(control, [], 1, lambda *_: None)
        for number in (forking._life, forking._held, forking._woken, forking._wake):
            self.addCleanup(os.close, number)
        full = OSError(24, "Too many open files")
        with patch("oci_registry.workers.forking.socket_pair", side_effect=full):
            forking._fork_due()
        message = unpack(receive(core)[0])
        self.assertEqual("ended", message.kind)
        self.assertEqual("could not be started: Too many open files", message.fields["how"])
        self.assertEqual(([], 1), (forking._running(), len(forking._workers)))
        self.assertIsNotNone(forking._timeout())
