"""The storage drivers, each imported only when it is used."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from oci_registry.config.settings import FilesystemSettings, StorageSettings
from oci_registry.storage.interfaces import IDriver
from oci_registry.streams.threads import Lanes


def make_driver(storage: StorageSettings, lanes: Lanes, clock: IReactorTime) -> IDriver:
    """Return the driver of the storage that these settings describe; nothing is read yet."""
    if isinstance(storage, FilesystemSettings):
        from oci_registry.storage.drivers.filesystem import FilesystemDriver  # noqa: PLC0415

        return FilesystemDriver(storage.root, lanes, clock)
    from oci_registry.storage.drivers.s3.driver import S3Driver  # noqa: PLC0415 - brings boto3 along

    return S3Driver(storage, lanes, clock)
