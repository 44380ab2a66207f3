"""A driver that keeps objects in a bucket of an S3 server, shared by any number of replicas."""
