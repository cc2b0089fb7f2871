"""Arithmetic and rules that ops of several kinds share."""
