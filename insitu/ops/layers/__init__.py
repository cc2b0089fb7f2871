"""Ops with weights, and what their gradients share."""
