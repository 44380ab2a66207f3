"""Producers and consumers: how bytes move between an upstream, a file and many clients."""
