"""Real clients and real registries around the real daemon; run with ``python -m tests.e2e``."""
