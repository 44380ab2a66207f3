"""Looks for corrupt content in a store, and takes it out of service."""
