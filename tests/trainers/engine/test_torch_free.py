"""What a launcher asks of a trainer must not cost it the seconds that torch takes to load."""

from __future__ import annotations

import subprocess
import sys

MODULES = ["config", "config.files", "config.flags", "config.fields", "config.sections"]
MODULES += ["errors", "checkpoint.files", "cache", "check", "samples", "statistics"]


def test_no_module_of_the_list_imports_torch() -> None:
    """One after the other in one interpreter; the answer names those that do."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'trainers.engine.{name}')\n"
        "    if 'torch' in sys.modules: sys.exit(name)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *MODULES], check=False, timeout=60, capture_output=True
    )

    assert (done.returncode, done.stderr) == (0, b"")


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
