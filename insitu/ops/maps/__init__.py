"""Ops that move or pool the elements of maps."""
