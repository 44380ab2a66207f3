"""The scrub of a daemon, from its parts."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from oci_registry.config.settings import Settings
from oci_registry.eviction.announcements import Announce
from oci_registry.eviction.store_use import StoreUse
from oci_registry.metrics import Metrics
from oci_registry.scrub.checks import Checker
from oci_registry.scrub.healing import Healing, Stores
from oci_registry.scrub.limits import ScrubLimits
from oci_registry.scrub.nouns import Mender, Progress
from oci_registry.scrub.one_pass import Pass, Save
from oci_registry.scrub.quarantine import Quarantine
from oci_registry.scrub.record import Record
from oci_registry.scrub.report import LoggedReport
from oci_registry.scrub.scrub import Scrub
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.threads import RunInThread


def make_scrub(
    settings: Settings,
    reactor: Any,
    metrics: Metrics,
    stores: Stores,
    hashing: RunInThread,
    reader: ManifestReader,
    mender: Mender,
    limits: ScrubLimits,
    use: StoreUse | None,
    announce: Announce | None,
) -> Scrub:
    """Make the scrub. *hashing*: the threads in which blobs are hashed. *mender*: fetches content again.

    *use*: how much the store may take; None: it has no limit. *announce*: as for `Healing`.
    """
    limits = limits.of(settings)
    now = reactor.seconds
    checker = Checker(stores.driver, hashing, reader, now, limits.piece)
    quarantine = Quarantine(stores.driver, limits.quarantine, use)
    healing = Healing(stores, quarantine, mender, announce)
    report = LoggedReport(metrics)

    def make_pass(progress: Progress, save: Save) -> Pass:
        driver = stores.driver
        return Pass(driver, checker, healing, report, now, save, progress, limits.one_pass)

    rate = float(settings.scrub_rate.bytes)
    record = Record(stores.driver)
    return Scrub(make_pass, record, reactor, metrics, uuid4().hex, rate, limits.times)
