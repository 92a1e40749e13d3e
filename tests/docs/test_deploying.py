"""docs/deploying.md, as it is written there: gunicorn behind nginx, on Redis."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import requests
from socketio import SimpleClient

from benchmarks import rolling
from flask_rooms import Answer
from flask_rooms.history import Bounds
from flask_rooms.history import from_url as history_from_url
from tests.docs.test_readme import run_client, run_flask, running
from tests.support import brokers
from tests.support.apps import PATIENCE, LocalCluster
from tests.support.brokers import Broker, free_port
from tests.support.clients import connection
from tests.support.documents import ROOT, blocks

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

# A new block needs a new test here.
(PROXIED,), README = blocks("docs/deploying.md", "python"), blocks("README.md", "python")[0]
(NGINX,) = blocks("docs/deploying.md", "nginx")
START, RABBITMQ, _ROLLING, CHECK = blocks("docs/deploying.md", "console")
ACL, *_ = blocks("docs/deploying.md", "text")  # test_secured_brokers.py has the others
(UNIT,) = blocks("docs/deploying.md", "ini")
(DOCKERFILE,) = blocks("docs/deploying.md", "dockerfile")
(COMPOSE,) = blocks("docs/deploying.md", "yaml")
PAGE = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
(WHAT_YOU_WILL_SEE,) = blocks("README.md", "text")

#: Seconds for the restart of two workers, which takes half a minute where little else runs.
RESTARTS = 170.0

#: The routes of README, in the application of the page.
APP = PROXIED + README[README.index("\n@app.put") :]
IMPORTS = "from flask_rooms import request, sockets\n"


@pytest.fixture(name="nginx")
def _nginx() -> str:
    try:
        return rolling.find_nginx()
    except rolling.ProgramMissing as missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(missing))


@pytest.fixture(name="directory")
def _directory(tmp_path: Path, redis_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(IMPORTS + APP, encoding="utf-8")
    monkeypatch.setenv("FLASK_SECRET_KEY", "change-me")
    monkeypatch.setenv("FLASK_ROOMS_BACKEND_URL", redis_broker.url)
    monkeypatch.setenv("FLASK_ROOMS_CHANNEL", tmp_path.name)
    return tmp_path


@pytest.mark.parametrize("worker", ["gevent", "gthread --threads 20"])
def test_two_processes_behind_nginx(directory: Path, nginx: str, worker: str) -> None:
    with behind(nginx, directory, worker, NGINX) as (proxy, *ports):
        assert run_client(directory, proxy) == WHAT_YOU_WILL_SEE
        assert run_client(directory, *ports) == WHAT_YOU_WILL_SEE
        with connection(f"http://127.0.0.1:{proxy}") as client:  # which sends its Origin
            assert client.request("put", "/rooms/red") == {"you": client.sid}
        for line in CHECK.splitlines():
            assert run_flask(directory, *shlex.split(line)[2:])


def test_below_a_prefix(directory: Path, nginx: str) -> None:
    """Three lines of nginx, one argument of ProxyFix, and the path of the client."""
    app = APP.replace("x_proto=1", "x_proto=1, x_prefix=1")
    (directory / "app.py").write_text(IMPORTS + app, encoding="utf-8")
    prefixed = NGINX
    for old, new in (
        ("location /", "location /shop/"),
        ("proxy_pass http://rooms;", "proxy_pass http://rooms/;"),
        ("proxy_buffering off;", "proxy_set_header X-Forwarded-Prefix /shop; proxy_buffering off;"),
    ):
        assert new.partition(" proxy_buffering")[0] in PAGE
        prefixed = prefixed.replace(old, new)
    with (
        behind(nginx, directory, "gevent", prefixed) as (proxy, *_),
        SimpleClient(request_timeout=PATIENCE) as client,
    ):
        site = f"http://127.0.0.1:{proxy}"
        where = {"socketio_path": "shop/socket.io", "headers": {"Origin": site}}
        client.connect(site, wait_timeout=PATIENCE, **where)
        for url in ("/shop/rooms/red", "/rooms/red"):
            assert client.call("put", {"url": url})["body"] == {"you": client.sid}
        said = requests.post(f"{site}/shop/rooms/red", json="hello", timeout=PATIENCE)
        assert said.json() == {}
        assert client.receive(PATIENCE) == ["message", "hello"]


def test_a_proxy_that_hides_the_host_has_pages_refused(directory: Path, nginx: str) -> None:
    """Without the line about `Host`, nginx sends the name of its upstream."""
    line = "        proxy_set_header Host $http_host;\n"
    assert line in NGINX
    with behind(nginx, directory, "gevent", NGINX.replace(line, "")) as (proxy, *_):
        site = f"http://127.0.0.1:{proxy}"
        url = f"{site}/socket.io/?EIO=4&transport=polling"
        of_a_page = requests.get(url, headers={"Origin": site}, timeout=PATIENCE)
        of_a_program = requests.get(url, timeout=PATIENCE)

    assert (of_a_page.status_code, of_a_program.status_code) == (400, 200)


@contextmanager
def behind(nginx: str, directory: Path, worker: str, configuration: str) -> Iterator[list[int]]:
    """Run two processes with this kind of worker behind nginx; yield its port, and theirs."""
    proxy, *ports = (free_port() for _ in range(3))
    configuration = configuration.replace("127.0.0.1:8000", f"127.0.0.1:{proxy}")
    with ExitStack() as stack:
        for number, port in enumerate(ports, 1):
            configuration = configuration.replace(f"127.0.0.1:800{number}", f"127.0.0.1:{port}")
            stack.enter_context(running(directory, port, gunicorn(worker, port)))
            # It listens before it has loaded the application.
            requests.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE)
        whole = rolling.WHOLE.format(directory=directory, configuration=configuration)
        (directory / "nginx.conf").write_text(whole, encoding="utf-8")
        command = [nginx, "-c", str(directory / "nginx.conf"), "-p", str(directory)]
        stack.enter_context(running(directory, proxy, command))
        yield [proxy, *ports]


def gunicorn(worker: str, port: int) -> list[str]:
    """Return the command of the page, for a worker of another kind and on another port."""
    line = re.search(r"^\$ (gunicorn .*)$", START, re.MULTILINE)
    assert line is not None
    command = line[1].replace("--worker-class gevent", f"--worker-class {worker}")
    return [sys.executable, "-m", *shlex.split(command.replace("8001", str(port)))]


def test_the_configuration_is_one_for_nginx(directory: Path, nginx: str) -> None:
    whole = rolling.WHOLE.format(directory=directory, configuration=NGINX)
    (directory / "nginx.conf").write_text(whole, encoding="utf-8")
    command = [nginx, "-t", "-q", "-c", str(directory / "nginx.conf"), "-p", str(directory)]

    subprocess.run(command, check=True)


@pytest.mark.usefixtures("nginx")
def test_a_rolling_restart_loses_nothing() -> None:
    """With the commands of the page, under load; the page has the table of a run with four."""
    command = [sys.executable, "-m", "benchmarks.rolling", "--workers", "2", "--clients", "10"]

    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=RESTARTS, check=False
    )

    assert done.returncode == 0, done.stdout
    rows = [row.split("|")[1] for row in done.stdout.splitlines()]
    assert len(rows) == 10
    for row in rows:
        assert f"\n|{row}|" in PAGE


def test_the_acl_of_redis_is_enough(tmp_path: Path) -> None:
    with brokers.start("redis") as broker, redis.Redis.from_url(broker.url) as admin:
        admin.execute_command("ACL", "SETUSER", *ACL.split()[1:])
        url = broker.url.replace("//", "//rooms:change-me@")
        for database in ("0", "1"):
            assert_two_workers_know_each_other(url.removesuffix("0") + database)

        (more,) = re.findall(r"`(~\S+/history/[^`]+)`", PAGE)
        admin.execute_command("ACL", "SETUSER", "rooms", *more.split())
        store, bounds = history_from_url(url, channel="flask-rooms", options={}), Bounds(1, 60, 100)
        for _ in range(2):
            store.append("room", b"news", bounds)
        assert store.read("room", 0, bounds).messages == [(2, b"news")]
        store.close()
        assert admin.acl_log() == []


def test_a_password_without_a_user_is_enough() -> None:
    with brokers.start("redis") as broker, redis.Redis.from_url(broker.url) as admin:
        (login,) = re.findall(r"`redis://(:\S+@)localhost", PAGE)
        admin.config_set("requirepass", login.strip(":@"))
        assert_two_workers_know_each_other(broker.url.replace("//", f"//{login}"))


@pytest.mark.usefixtures("redis_broker")  # which says what is missing
def test_a_unix_socket_with_a_password_connects_the_workers(tmp_path: Path) -> None:
    program, place = shutil.which("redis-server"), tmp_path / "redis.sock"
    assert program is not None
    command = [program, "--port", "0", "--unixsocket", str(place), "--requirepass", "password"]
    (url,) = re.findall(r"`(redis\+socket://\S+)`", PAGE)
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(place)
            assert_two_workers_know_each_other(url.replace("/run/redis/redis.sock", str(place)))
        finally:
            process.terminate()


def _wait_for(place: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not place.exists():
        assert time.monotonic() < deadline, "Redis has not started"
        time.sleep(0.02)


def test_the_extras_that_the_page_installs_are_there() -> None:
    named = {
        name
        for extras in re.findall(r"Flask-Rooms\[([\w,]+)\]", PAGE)
        for name in extras.split(",")
    }
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert named == {"redis", "gevent"}
    assert all(re.search(rf"^{name} = \[", project, re.MULTILINE) for name in named)


def test_the_permissions_of_rabbitmq_are_enough(amqp_broker: Broker) -> None:
    if not isinstance(amqp_broker, brokers.RabbitMQ):
        pytest.skip("A RabbitMQ of the tests is needed, to add a user.")
    for line in RABBITMQ.splitlines():
        amqp_broker.control(*shlex.split(line)[2:])
    address = amqp_broker.url.partition("@")[2].partition("/")[0]

    assert_two_workers_know_each_other(f"amqp://rooms:change-me@{address}/rooms")


def assert_two_workers_know_each_other(url: str) -> None:
    with LocalCluster() as cluster:
        here, there = (cluster.worker(backend_url=url) for _ in range(2))
        client = here.connect()
        here.sockets.join(client.sid, "red").result(PATIENCE)
        assert there.sockets.count("red") == Answer(1, True)
        assert there.sockets.leave(client.sid, "red").result(PATIENCE).changed == 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is needed.")
def test_the_unit_is_one_for_systemd(tmp_path: Path) -> None:
    unit = tmp_path / "rooms@8001.service"
    program = shutil.which("true")
    assert program is not None
    text = UNIT.replace("/srv/app/venv/bin/gunicorn", program).replace("/srv/app", str(tmp_path))
    unit.write_text(text, encoding="utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert [line for line in done.stdout.splitlines() if unit.name in line] == []


def test_unit_and_container_start_the_server_of_the_page() -> None:
    line = re.search(r"^\$ (gunicorn .*)$", START, re.MULTILINE)
    assert line is not None
    command = shlex.split(line[1])

    of_unit = re.search(r"^ExecStart=\S*/(gunicorn .*)$", UNIT, re.MULTILINE)
    assert of_unit is not None
    assert shlex.split(of_unit[1].replace("%i", "8001")) == command
    of_image = json.loads(DOCKERFILE.rpartition("CMD ")[2])
    assert [part.replace("0.0.0.0:8000", "127.0.0.1:8001") for part in of_image] == command


def test_the_composition_names_services_that_it_has() -> None:
    services = re.findall(r"^  (\w+):", COMPOSE, re.MULTILINE)
    backend = re.search(r"FLASK_ROOMS_BACKEND_URL: (\S+)", COMPOSE)
    assert backend is not None

    assert services == ["redis", "one", "two", "nginx"]
    assert urlsplit(backend[1]).hostname in services
    for needed in re.findall(r"depends_on: \[(.*)\]", COMPOSE):
        assert set(needed.split(", ")) <= set(services)
