"""The status page: HTML for browsers beside the admin API, made from the answers of its routes."""
