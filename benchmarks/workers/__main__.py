"""
A worker in Python: python -m benchmarks.workers MODULE URL MODE [OPTION].

MODULE is a module of this directory, whose `create` gets URL, MODE and OPTION.
"""

from __future__ import annotations

import sys
import warnings

from tests.run import patch

if __name__ == "__main__":
    warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")
    module, url, mode, *options = sys.argv[1:]
    patch(mode)  # before anything else is imported

    from importlib import import_module

    from benchmarks.workers.driver import serve

    serve(import_module(f"benchmarks.workers.{module}").create(url, mode, *options), mode)
