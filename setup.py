"""What pyproject.toml cannot say: which packages there are, and that a Twisted plugin is one."""

from setuptools import find_packages, setup

setup(
    # twisted.plugins has no __init__.py here and so is found by nothing: it is Twisted's own
    # package, into which ours puts one file.
    packages=[*find_packages(include=["oci_registry", "oci_registry.*"]), "twisted.plugins"],
    # Spelt out, this makes an editable install put the whole directory on sys.path; the default
    # would map oci_registry alone, and twistd would not find the plugin.
    package_dir={"": "."},
)
