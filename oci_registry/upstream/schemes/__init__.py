"""Authentication schemes of upstreams."""
