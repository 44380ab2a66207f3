"""Tests of ready answers."""
