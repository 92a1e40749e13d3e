"""Processes beside the web workers: started with an environment that lets them join these."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.clients import Client
from tests.support.documents import ROOT
from tests.support.serving import HEARTBEAT
from tests.support.workers import Worker

#: Seconds that a process may take on a machine that is busy.
TIMEOUT = 60.0

#: By which a test can tell a goodbye from silence: that would show after four times as long.
SLOW = ("--heartbeat", "60")


def environment(web: Worker, heartbeat: float = 60.0, **variables: str) -> dict[str, str]:
    """Return the environment of a process that is to join the cluster of *web*."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYTHONWARNINGS": r"ignore:\s*Eventlet is deprecated",
        "FLASK_APP": "tests.support.outside_app",
        "FLASK_SECRET_KEY": "of the tests",
        "FLASK_ROOMS_BACKEND_URL": web.backend,
        "FLASK_ROOMS_CHANNEL": web.channel,
        "FLASK_ROOMS_HEARTBEAT_INTERVAL": str(heartbeat),
        **variables,
    }


def run_python(
    web: Worker,
    *arguments: str | Path,
    heartbeat: float = 60.0,
    returns: int = 0,
    stdin: str = "",
    errors: bool = False,
    **variables: str,
) -> str:
    """Run Python, and return what it prints before it ends as expected, with *errors* if asked."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment(web, heartbeat, **variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == returns, done.stdout + done.stderr
    return done.stdout + (done.stderr if errors else "")


def run_flask(web: Worker, *arguments: str, **options: Any) -> str:
    """Run the `flask` command beside workers whose heartbeats are as fast as the tests' own."""
    return run_python(web, "-m", "flask", *arguments, heartbeat=HEARTBEAT, **options)


def peers(web: Worker, listener: Client) -> list[str]:
    """
    Return the workers that *web* counts as alive.

    Args:
        web: The worker to ask.
        listener: A socket of another worker: when that has answered to *web*, everything has
            come that was published before.
    """
    web.post("/leave", sids=listener.sid, rooms="fence")
    names: list[str] = web.post("/peers")
    return names
