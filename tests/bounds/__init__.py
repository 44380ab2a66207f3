"""What memory and time the daemon takes, measured so that other work on the machine does not matter."""
