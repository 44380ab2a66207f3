"""The storages that can be named on the command line, and their options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType

from oci_registry.config.files import NoAnswer, ReadOnly, check_directory, in_time
from oci_registry.config.findings import Findings
from oci_registry.config.options import Flags, OptionReader
from oci_registry.config.s3 import load_s3
from oci_registry.config.settings import FilesystemSettings, StorageSettings


def load_storage(
    storage: tuple[str, Flags] | None, environ: Mapping[str, str], findings: Findings
) -> StorageSettings:
    """Return the settings of the store, from the name of the storage and its flags.

    Errors become problems; the settings must not be used then.
    """
    if storage is None:
        findings.problem(
            "no storage given",
            "end the command with filesystem --root DIRECTORY or s3 --bucket NAME",
        )
        return FilesystemSettings("")
    name, flags = storage
    return _LOADERS[name](OptionReader(flags, environ, findings, name))


def _load_filesystem(options: OptionReader) -> FilesystemSettings:
    flagged = options.raw("root")
    variable = options.variable_of("root")
    root = options.environ.get(variable, "") if flagged is None else str(flagged)
    if not root:
        options.findings.problem("filesystem", "--root or FILESYSTEM_ROOT is required")
        return FilesystemSettings("")
    root = os.path.abspath(root)
    try:
        in_time(check_directory, root)
    except NoAnswer as error:
        options.warning("root", f"{error}: until it does, nothing is stored")
    except ReadOnly as error:
        if os.path.isdir(root):
            served = "what is stored there is served, and nothing new is stored"
            options.warning("root", f"{error}: {served}")
        else:
            options.problem("root", error)
    except ValueError as error:
        options.problem("root", error)
    return FilesystemSettings(root)


_LOADERS: Mapping[str, Callable[[OptionReader], StorageSettings]] = MappingProxyType(
    {"filesystem": _load_filesystem, "s3": load_s3}
)

#: The names of all storages.
STORAGES = tuple(_LOADERS)
