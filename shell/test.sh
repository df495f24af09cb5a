#!/usr/bin/env bash
# Set up .venv with the development extras; check style, types and imports; run all tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash shell/setup.sh dev
export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1
if [ $# -eq 0 ]; then
  ruff check .
  ruff format --check .
  mypy
  lint-imports
fi
exec python -m pytest "$@"
