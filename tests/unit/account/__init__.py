"""Tests of the account."""
