#!/usr/bin/env bash
# Set up .venv with the development extras; check style, types and imports; run all tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash shell/setup.sh dev
export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1
unset PYTHONDONTWRITEBYTECODE  # hundreds of processes load the same modules: compiled once
if [ $# -eq 0 ]; then
  python -m pytest --collect-only -qqq -n 0 >/dev/null & # compiles while mypy, on one core, checks
  ruff check .
  ruff format --check .
  mypy
  lint-imports
  wait
fi
exec python -m pytest "$@"
