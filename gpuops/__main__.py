"""Where the program ``gpuops`` begins; also ``python -m gpuops``."""

import gc

# A start is imports, which leave nothing to collect: collecting less often is 5 % of its time.
gc.set_threshold(100_000)

from gpuops.cli import main  # noqa: E402 - after the line above, or it would serve nothing

if __name__ == "__main__":
    main()
