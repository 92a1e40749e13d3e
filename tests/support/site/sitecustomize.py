"""
Python imports this when it starts: tests/conftest.py names the directory in PYTHONPATH.

python-socketio imports aiohttp wherever it is installed. Only its asynchronous client needs it,
and it takes a third of the start of a worker, of which the tests start hundreds. Servers that are
in use rarely have it.
"""

import os
import sys

if "ROOMS_TEST_AIOHTTP" not in os.environ:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # its import is an ImportError
