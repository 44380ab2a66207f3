"""Builds and runs what the Dockerfile says where no container engine runs; see ``__main__``."""
