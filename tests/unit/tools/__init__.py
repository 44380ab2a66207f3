"""Tests of what checks and builds the project."""
