"""Losses, and the border between integers and floats."""
