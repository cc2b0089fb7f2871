"""Compilers and emulators that are installed."""
