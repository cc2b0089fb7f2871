"""A compiled network and its runs -> text, JSON and HTML for people."""
