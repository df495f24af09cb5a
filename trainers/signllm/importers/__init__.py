"""Data sets of others, imported as folders of sentences."""
