"""Flags, environment and files in, one frozen `Settings` out."""
