"""
One worker of the tests, as a process of its own.

    python -m tests.support.worker --backend URL --channel NAME
                                   [--application MODULE] [--heartbeat SECONDS]
                                   [--config JSON]

It is patched for the asynchronous mode in ROOMS_TEST_MODE, says on one line of JSON which port
it listens on and what its name in the cluster is, and ends with its standard input, so that it
never outlives its parent.
"""

from __future__ import annotations

import os
import sys
import warnings

from tests.run import patch

if __name__ == "__main__":
    warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")  # the README passes it on
    patch(os.environ.get("ROOMS_TEST_MODE", "threading"))  # before anything else is imported
    from tests.support.forking import FORKS, serve

    if sys.argv[1:] == [FORKS]:
        serve()
    from tests.support.serving import main

    main()
