"""Folders of tests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase


def make_folder() -> Path:
    """Return a new folder with a short path.

    That of a UNIX socket in it may have 107 bytes, wherever the source tree is.
    """
    return Path(tempfile.mkdtemp(prefix="oci-"))


def short_folder(test: SynchronousTestCase) -> Path:
    """Return a new folder with a short path, which is removed when *test* has ended, before its `tearDown`."""
    folder = make_folder()
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder
