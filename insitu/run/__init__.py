"""Running a model: the numpy reference, the twin on the desk, the emulated board."""
