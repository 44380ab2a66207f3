"""The account: an index of what is stored, beside the store."""
