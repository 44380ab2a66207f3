"""Folders of tests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase


def short_folder(test: SynchronousTestCase) -> Path:
    """Return a new folder, which is removed when *test* has ended.

    Its path is short: that of a UNIX socket in it may have 107 bytes, wherever the source tree is.
    """
    folder = Path(tempfile.mkdtemp(prefix="oci-"))
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder
