"""The parts of the benchmarks that need no servers."""
