"""The pure nouns of the distribution API: values, grammars and errors; no Twisted, no I/O."""
