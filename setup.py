"""What pyproject.toml cannot say: which packages there are, that a Twisted plugin is one, and the readme."""

import re
import tomllib
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]


def absolute(readme: str, source: str) -> str:
    """Make links to files of the project absolute: on the package index nothing is beside the readme."""
    return re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", rf"]({source}/blob/main/\1)", readme)


setup(
    # twisted.plugins has no __init__.py here and so is found by nothing: it is Twisted's own
    # package, into which ours puts one file.
    packages=[*find_packages(include=["oci_registry", "oci_registry.*"]), "twisted.plugins"],
    # Spelt out, this makes an editable install put the whole directory on sys.path; the default
    # would map oci_registry alone, and twistd would not find the plugin.
    package_dir={"": "."},
    long_description=absolute((HERE / "README.md").read_text(), PROJECT["urls"]["Source"]),
    long_description_content_type="text/markdown",
)
