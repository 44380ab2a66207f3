"""The registries that are mirrored: finding the right one, and requests to it."""
