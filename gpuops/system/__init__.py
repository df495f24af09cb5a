"""Effects, one concern a file: failures become ``None``, a named gap, or a GpuopsError."""
