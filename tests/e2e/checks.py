"""Counting what passed, failed and was skipped."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable


class Checks:
    """Runs checks, prints a line for each, and counts."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def check(self, what: str, call: Callable[..., object], *args: object) -> None:
        """Run a check, which fails by raising; a text that it returns is printed with its name."""
        began = time.monotonic()
        try:
            told = call(*args)
        except Exception:
            self.failed += 1
            print(f"FAIL  {what} [{time.monotonic() - began:.1f} s]")
            print(
                "      | " + traceback.format_exc().rstrip().replace("\n", "\n      | "), flush=True
            )
        else:
            self.passed += 1
            note = f" ({told})" if isinstance(told, str) else ""
            print(f"PASS  {what}{note} [{time.monotonic() - began:.1f} s]", flush=True)

    def skip(self, what: str, why: str) -> None:
        """Say what is not checked, and why."""
        self.skipped += 1
        print(f"SKIP  {what}: {why}", flush=True)

    def summary(self) -> str:
        """Return the counts in one line."""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
