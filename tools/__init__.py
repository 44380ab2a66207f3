"""What checks and builds the project; nothing of it is installed."""
