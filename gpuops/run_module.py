"""Runs a module as ``python -m`` does, but never imports from the working directory.

``python run_module.py MODULE ARGUMENTS...``: a folder ``torch/`` or a file ``socket.py`` in the
working directory must not stand in for the real one. From Python 3.11 on ``PYTHONSAFEPATH`` does
the same, but it would reach the ranks of a script too. This runs in any Python.
"""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder of this file
    import runpy

    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
