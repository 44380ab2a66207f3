"""What a pull-through registry does: answer from the store, else from upstream, and keep it."""
