"""What clients have to be told of the mirror: their configuration, generated and written."""
