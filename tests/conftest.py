"""Settings of all tests: hypothesis draws the same examples every time, and takes its time."""

from hypothesis import settings

settings.register_profile("insitu", derandomize=True, deadline=None)
settings.load_profile("insitu")
