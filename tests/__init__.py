"""
The tests; generated examples are the same on every run and every machine, unless asked otherwise.

``HYPOTHESIS_PROFILE=fuzz`` generates twenty times as many, others on every run. They follow from
``HYPOTHESIS_SEED``, where it is set.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import configuration, core
from hypothesis.internal import charmap

# What the tests import are a million objects that stay: to look at them all for garbage takes long.
gc.set_threshold(5000, 20, 50)

# Which characters there are takes seconds to find out: once, for all processes, and the next time too.
configuration.set_hypothesis_home_dir(Path(__file__).parents[1] / ".hypothesis")
charmap.intervals_from_codec("utf-8")

hypothesis.settings.register_profile(
    "default", derandomize=True, deadline=None, max_examples=100, database=None
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


def examples(usually: int) -> int:
    """Return how many examples a test takes that usually takes so many, not 100."""
    return usually * hypothesis.settings().max_examples // 100


if "HYPOTHESIS_SEED" in os.environ:
    forced: Any = core
    forced.global_force_seed = int(os.environ["HYPOTHESIS_SEED"])
