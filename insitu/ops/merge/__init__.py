"""Where branches meet."""
