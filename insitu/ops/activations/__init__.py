"""Functions of single elements, and clips."""
