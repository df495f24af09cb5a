"""Trainers: their manifests, and what they answer."""
