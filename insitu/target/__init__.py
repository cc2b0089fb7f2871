"""Boards, cores, emulated machines, ELF files."""
