"""Settings of all tests: hypothesis draws the same examples every time, and takes its time."""

from hypothesis import settings

settings.register_profile("insitu", derandomize=True, deadline=None)
settings.register_profile("deep", deadline=None, max_examples=2000)  # for a night, not for CI
settings.load_profile("insitu")
