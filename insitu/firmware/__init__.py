"""C -> objects, libraries for the desk, firmware for boards."""
