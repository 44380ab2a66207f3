"""Tests of looking after a store."""
