"""The admin API: HTTP and JSON for those who look after a running daemon. Never on the port for clients."""
