"""What is kept: bytes at keys in a driver; blobs, manifests and tags above it."""
