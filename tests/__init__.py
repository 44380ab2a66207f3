"""The tests; generated examples are the same on every run and every machine."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=100, database=None
)
hypothesis.settings.load_profile("ci")
