"""Where the program ``gpuops`` begins; also ``python -m gpuops``."""

import gc

# Most commands live for a blink, and imports leave nothing to collect: 6 % of the time to answer.
# Those that stay (launch, logs --follow) switch it on again.
gc.disable()

from gpuops.cli import main  # noqa: E402 - after the line above, or it would serve nothing

if __name__ == "__main__":
    main()
