"""What a run folder holds, as values."""
