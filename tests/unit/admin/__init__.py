"""Tests of the admin API without real I/O."""
