#!/usr/bin/env bash
# The guide's training of layout on eight H20: checks first, then the model of 2048 x 32. Your flags
# are added, such as --config config_data_action_head.json or --data FOLDER.
set -euo pipefail
PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin:$PATH"
exec gpuops launch layout --profile 8xh20 --preset h20 "$@"
