"""The registries that are mirrored: which one is meant, and how it is asked."""
