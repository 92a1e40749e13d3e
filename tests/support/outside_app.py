"""
The application as processes beside the web workers have it: scripts, tasks, the command line.

It is configured by the environment, as Flask's `from_prefixed_env` reads it, and patched for the
asynchronous mode in ROOMS_TEST_MODE.
"""

from __future__ import annotations

import os

from tests.run import patch

patch(os.environ.get("ROOMS_TEST_MODE", "threading"))

from flask import Flask  # noqa: E402 - what is imported before patch() stays unpatched

from flask_rooms import Rooms  # noqa: E402

app = Flask(__name__)
app.config.from_prefixed_env()
rooms = Rooms(app)
cluster = app.extensions["rooms_parts"].cluster
