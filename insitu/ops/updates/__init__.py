"""How gradients become steps, and what learns."""
