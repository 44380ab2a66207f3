"""Configuration of clients that pull through the mirror, generated and written."""
