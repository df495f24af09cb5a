"""Training systems that gpuops runs; each also runs bare with ``python -m trainers.NAME.train``."""
