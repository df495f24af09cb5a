"""The clips of a data set."""
