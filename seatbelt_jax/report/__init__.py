"""HTML pages of runs and sweeps, from what is on disk."""
