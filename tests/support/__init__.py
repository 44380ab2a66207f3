"""What tests stand on: an upstream that does as it is told, a daemon in process, a raw client."""
