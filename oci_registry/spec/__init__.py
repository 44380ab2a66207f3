"""Data types and parsers of the distribution API: values, grammars and errors, without Twisted and I/O."""
