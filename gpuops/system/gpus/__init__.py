"""GPUs and the processes on them, read through NVML."""
