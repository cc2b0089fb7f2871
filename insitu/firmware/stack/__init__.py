"""A linked firmware -> the deepest its stack can go, read from its instructions."""

from insitu.firmware.stack.bound import StackBound, stack_bound

__all__ = ["StackBound", "stack_bound"]
