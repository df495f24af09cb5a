"""Data sets of other layouts, as posters."""
