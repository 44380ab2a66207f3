"""The admin API: HTTP and JSON for operators of a running daemon. Never on the port for clients."""
