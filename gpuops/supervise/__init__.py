"""A run from its first attempt to its last."""
