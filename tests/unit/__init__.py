"""Tests of one module each, without real I/O."""
