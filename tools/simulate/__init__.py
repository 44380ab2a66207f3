"""Replays pulls against policies of eviction, to compare them."""
