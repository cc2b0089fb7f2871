"""Samples and labels as users give them."""
