"""Other motion formats, read into clips."""
