"""What the monitor shows."""
