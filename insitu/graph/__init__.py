"""The graph: data structure, builder, verifier, text form."""
