"""Clips cut into windows, and the cache that keeps them."""
