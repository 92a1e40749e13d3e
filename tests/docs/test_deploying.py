"""docs/deploying.md, as it is written there: gunicorn behind nginx, on Redis."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.test_readme import run_client, run_flask, running
from tests.support.brokers import Broker, free_port
from tests.support.clients import connection
from tests.support.documents import blocks

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

# A new block needs a new test here.
(PROXIED,), README = blocks("docs/deploying.md", "python"), blocks("README.md", "python")[0]
(NGINX,) = blocks("docs/deploying.md", "nginx")
START, CHECK = blocks("docs/deploying.md", "console")
(WHAT_YOU_WILL_SEE,) = blocks("README.md", "text")

#: The routes of README, in the application of the page.
APP = PROXIED + README[README.index("\n@app.put") :]
IMPORTS = "from flask_rooms import request, sockets\n"

WHOLE = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{configuration}
}}
"""


@pytest.fixture(name="nginx")
def _nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("nginx is needed.")
    return found


@pytest.fixture(name="directory")
def _directory(tmp_path: Path, redis_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(IMPORTS + APP, encoding="utf-8")
    monkeypatch.setenv("FLASK_SECRET_KEY", "change-me")
    monkeypatch.setenv("FLASK_ROOMS_BACKEND_URL", redis_broker.url)
    monkeypatch.setenv("FLASK_ROOMS_CHANNEL", tmp_path.name)
    return tmp_path


@pytest.mark.parametrize("worker", ["gevent", "gthread --threads 20"])
def test_two_processes_behind_nginx(directory: Path, nginx: str, worker: str) -> None:
    proxy, *ports = (free_port() for _ in range(3))
    configuration = NGINX.replace("127.0.0.1:8000", f"127.0.0.1:{proxy}")
    with ExitStack() as stack:
        for number, port in enumerate(ports, 1):
            configuration = configuration.replace(f"127.0.0.1:800{number}", f"127.0.0.1:{port}")
            stack.enter_context(running(directory, port, gunicorn(worker, port)))
        whole = WHOLE.format(directory=directory, configuration=configuration)
        (directory / "nginx.conf").write_text(whole, encoding="utf-8")
        command = [nginx, "-c", str(directory / "nginx.conf"), "-p", str(directory)]
        stack.enter_context(running(directory, proxy, command))

        assert run_client(directory, proxy) == WHAT_YOU_WILL_SEE
        assert run_client(directory, *ports) == WHAT_YOU_WILL_SEE
        with connection(f"http://127.0.0.1:{proxy}") as client:  # which sends its Origin
            assert client.request("put", "/rooms/red") == {"you": client.sid}
        for line in CHECK.splitlines():
            assert run_flask(directory, *shlex.split(line)[2:])


def gunicorn(worker: str, port: int) -> list[str]:
    """Return the command of the page, for a worker of another kind and on another port."""
    line = re.search(r"^\$ (gunicorn .*)$", START, re.MULTILINE)
    assert line is not None
    command = line[1].replace("--worker-class gevent", f"--worker-class {worker}")
    return [sys.executable, "-m", *shlex.split(command.replace("8001", str(port)))]


def test_the_configuration_is_one_for_nginx(directory: Path, nginx: str) -> None:
    whole = WHOLE.format(directory=directory, configuration=NGINX)
    (directory / "nginx.conf").write_text(whole, encoding="utf-8")
    command = [nginx, "-t", "-q", "-c", str(directory / "nginx.conf"), "-p", str(directory)]

    subprocess.run(command, check=True)
