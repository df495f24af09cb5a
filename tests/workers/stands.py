"""A worker that stands still until it is ended, and says so by a file in READY named by its pid.

LOADER: it has a child, as a data loader has. FAULT=ignore: SIGTERM does not end it.
"""

import os
import signal
from pathlib import Path

if os.environ.get("FAULT") == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "LOADER" in os.environ:
    os.fork()
Path(os.environ["READY"], str(os.getpid())).touch()
while True:
    signal.pause()
