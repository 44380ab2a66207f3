"""Eviction of content that is no longer used."""
