"""Processes: started, identified, signalled, read."""
