"""Commands on a store."""
