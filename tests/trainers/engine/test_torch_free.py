"""What a launcher asks of a trainer must not cost it the seconds that torch takes to load."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = ["config", "config.files", "config.flags", "config.fields", "config.sections"]
MODULES += ["errors", "checkpoint.files", "cache", "check", "samples", "statistics"]


@pytest.mark.parametrize("module", MODULES)
def test_imports_without_torch(module: str) -> None:
    """The module, and what it imports, leaves torch alone."""
    code = f"import sys, trainers.engine.{module}; sys.exit('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)

    assert done.returncode == 0


def test_resolving_a_config_needs_no_torch() -> None:
    """The whole way from flags to JSON does without torch."""
    code = (
        "import sys\n"
        "from trainers.engine.config import config, sections\n"
        "print(config.to_dict(config.resolve(sections.OptimConfig, ['--lr', '3'], name='toy')))\n"
        "sys.exit('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True
    )

    assert (done.returncode, "'lr': 3.0" in done.stdout) == (0, True)
