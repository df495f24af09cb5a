#!/usr/bin/env bash
# Set up .venv in a fresh clone, then train the motion RVQ-VAE on two CPU workers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash shell/setup.sh
export PATH="$PWD/.venv/bin:$PATH"
exec gpuops launch rvq --profile cpu "$@"
