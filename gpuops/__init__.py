"""An operator's toolkit for multi-GPU PyTorch jobs."""

__version__ = "0.1.0"
