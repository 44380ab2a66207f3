"""The HTTP server: the only package that handles requests and responses."""
