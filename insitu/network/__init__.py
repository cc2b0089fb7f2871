"""A compiled network, its folder, and what can be done with it."""
