"""``python -m gpuops``."""

from gpuops.cli import main

main()
