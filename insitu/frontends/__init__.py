"""Files and modules of others -> Model."""
