"""Planners: which kernel a convolution takes, and in which tiles."""
