"""Grids of models: cells, what is done to them, and their tables."""
