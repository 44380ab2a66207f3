"""What memory and time the daemon takes, measured while no other test runs."""
