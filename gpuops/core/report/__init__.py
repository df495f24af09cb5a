"""The report of a run, as values."""
