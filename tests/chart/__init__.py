"""Tests of the chart with the real helm; skipped where there is no Go to build it with."""
