"""Looking after a store: what is in it, why it is kept, and how it is removed."""
