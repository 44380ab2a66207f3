"""Commands on a store: ``oci-registry export``, ``oci-registry import``. They need no reactor."""
