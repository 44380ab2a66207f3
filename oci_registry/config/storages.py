"""The storages that can be named on the command line, and what each makes of its options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType

from oci_registry.config.files import NoAnswer, ReadOnly, check_directory, in_time
from oci_registry.config.findings import Findings
from oci_registry.config.options import Flags, OptionReader
from oci_registry.config.s3 import load_s3
from oci_registry.config.settings import FilesystemSettings, S3Settings, StorageSettings


def load_storage(
    storage: tuple[str, Flags] | None,
    environ: Mapping[str, str],
    findings: Findings,
    checking: str | None = None,
) -> StorageSettings:
    """The settings of the store, from the name of the storage and its flags.

    Errors become problems, and then the settings must not be used.  ``checking`` is
    the option that verifies digests of stored content, None if it is off.
    """
    if storage is None:
        findings.problem(
            "no storage given",
            "end the command with filesystem --root DIRECTORY or s3 --bucket NAME",
        )
        return FilesystemSettings("")
    name, flags = storage
    settings = _LOADERS[name](OptionReader(flags, environ, findings, name))
    if checking is not None and isinstance(settings, S3Settings) and settings.redirect:
        findings.problem(
            checking,
            "cannot be combined with --redirect: clients that are redirected to the bucket get bytes "
            "that are not verified",
        )
    return settings


def _load_filesystem(options: OptionReader) -> FilesystemSettings:
    flagged = options.raw("root")
    source = "FILESYSTEM_ROOT" if flagged is None else "filesystem --root"
    root = options.environ.get(source, "") if flagged is None else str(flagged)
    if not root:
        options.findings.problem("filesystem", "--root or FILESYSTEM_ROOT is required")
        return FilesystemSettings("")
    root = os.path.abspath(root)
    try:
        in_time(check_directory, root)
    except NoAnswer as error:
        options.findings.warning(source, f"{error}: until it does, nothing is stored")
    except ReadOnly as error:
        if os.path.isdir(root):
            served = "what is stored there is served, and nothing new is stored"
            options.findings.warning(source, f"{error}: {served}")
        else:
            options.findings.problem(source, error)
    except ValueError as error:
        options.findings.problem(source, error)
    return FilesystemSettings(root)


_LOADERS: Mapping[str, Callable[[OptionReader], StorageSettings]] = MappingProxyType(
    {"filesystem": _load_filesystem, "s3": load_s3}
)

#: The names of all storages.
STORAGES = tuple(_LOADERS)
