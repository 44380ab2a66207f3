"""What the daemon costs, measured beside a peer in the same run."""
