"""What is removed, and when."""
