"""The extra that brings diffusers (no torch)."""

MISSING = (
    "layouts are drawn by the library diffusers, which is not installed",
    "pip install 'gpuops[layout]'",
)
