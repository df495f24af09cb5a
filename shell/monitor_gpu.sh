#!/usr/bin/env bash
# Watch the GPUs and the jobs on them, every 5 s by default: monitor_gpu.sh [SECONDS] [--count N].
# Takes the flags of `gpuops monitor`.
set -euo pipefail
PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin:$PATH"
interval=5
if [[ ${1:-} =~ ^[0-9.]+$ ]]; then
  interval=$1
  shift
fi
exec gpuops monitor --interval "$interval" "$@"
