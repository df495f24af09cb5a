"""The host and its GPUs, as values."""
