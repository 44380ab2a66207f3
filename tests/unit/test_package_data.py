"""Files of the package that are no modules."""

from __future__ import annotations

import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.admin.page.assets import NAMES

HERE = Path(__file__).parents[2]
PACKAGE = HERE / "oci_registry"


class PackageData(SynchronousTestCase):
    """What pyproject.toml says of them."""

    def test_all_installed(self) -> None:
        """Each of them is put into the wheel, and each file of the status page is one of them."""
        settings = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["setuptools"]
        patterns = settings["package-data"]["oci_registry"]
        installed = {found for pattern in patterns for found in PACKAGE.glob(pattern)}
        others = {
            found
            for found in PACKAGE.rglob("*")
            if found.is_file() and found.suffix not in (".py", ".pyc", ".swp")
        }
        self.assertEqual(others, installed)
        static = PACKAGE / "admin" / "page" / "static"
        self.assertEqual({static / name for name in NAMES}, set(static.iterdir()))
