"""Faults injected into a small job."""
