"""Checkpoints: written, found, loaded."""
