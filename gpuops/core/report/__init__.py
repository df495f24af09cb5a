"""What a report of a run says."""
