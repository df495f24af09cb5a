"""The report of a run, on the screen and as a page."""
