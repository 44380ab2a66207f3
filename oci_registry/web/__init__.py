"""HTTP in, HTTP out: the only room that knows requests and responses."""
