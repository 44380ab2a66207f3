"""
The tests; generated examples are few, and the same on every run and every machine.

``HYPOTHESIS_PROFILE=fuzz`` generates eighty times as many, others on every run. They follow from
``HYPOTHESIS_SEED``, where it is set. An example that once showed a fault is an ``@example`` of its test, or
a test of its own: then it is part of every run.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import configuration, core
from hypothesis.internal import charmap
from twisted.trial import _synctest

# What the tests import are a million objects that stay: to look at them all for garbage takes long. New
# objects are looked at more often than these, since memory that is used again is in the caches.
gc.set_threshold(2000, 20, 100)

# Which characters there are takes seconds to find out: once, for all processes, and the next time too.
configuration.set_hypothesis_home_dir(Path(__file__).parents[1] / ".hypothesis")
charmap.intervals_from_codec("utf-8")

# For each test, trial makes each of some two thousand modules forget what it has warned of. That goes without
# saying: trial changes the filters of warnings as well, with which Python forgets all that by itself.
_synctest._setWarningRegistryToNone = lambda modules: None

if os.environ.get("HYPOTHESIS_PROFILE", "default") == "default":
    # Constants in the modules that the process has imported until now, which differ from run to run. Older
    # versions of hypothesis draw none.
    providers: Any = None
    with suppress(ImportError):
        providers = import_module("hypothesis.internal.conjecture.providers")
    if hasattr(providers, "Constants"):
        providers._get_local_constants = providers.Constants

hypothesis.settings.register_profile(
    "default", derandomize=True, deadline=None, max_examples=25, database=None
)
hypothesis.settings.register_profile(
    "fuzz",
    derandomize=False,
    deadline=None,
    max_examples=2000,
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(times: float) -> int:
    """Return so many times as many examples as a test usually takes, whatever the profile."""
    return int(times * hypothesis.settings().max_examples)


if "HYPOTHESIS_SEED" in os.environ:
    forced: Any = core
    forced.global_force_seed = int(os.environ["HYPOTHESIS_SEED"])
