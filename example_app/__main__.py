"""Serve the example with eventlet: `python -m example_app --help`."""

from __future__ import annotations

import warnings

if __name__ == "__main__":
    # Eventlet warns new projects not to use it; the README does, too.
    warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")
    import eventlet

    eventlet.monkey_patch()  # before anything else is imported
    from example_app.server import main

    main()
