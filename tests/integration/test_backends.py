"""The backends keep the contract, show no password, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from kombu.connection import Connection

from flask_rooms.backends import MemoryBackend, from_url
from flask_rooms.backends.base import Backend
from flask_rooms.backends.kombu import KombuBackend
from flask_rooms.backends.memory import _hubs
from flask_rooms.backends.sessions import QUEUE_BYTES, TIMEOUT, Session
from flask_rooms.errors import BackendError, ConfigurationError
from flask_rooms.testing import (
    BackendContract,
    BreakConnection,
    MakeBackend,
    ReconnectContract,
    Workers,
)
from tests.support.apps import in_thread
from tests.support.brokers import Broker, RabbitMQ, Redis, free_port
from tests.support.proxy import UP, Proxy

pytestmark = pytest.mark.oldest_dependencies

PASSWORD = "s3cret"


def opener(url: str) -> MakeBackend:
    return lambda channel: from_url(url, channel=channel, options={})


class OnRedis:
    """Tests on a real Redis."""

    @pytest.fixture
    def make_backend(self, redis_broker: Broker) -> MakeBackend:
        return opener(redis_broker.url)

    @pytest.fixture
    def break_connection(self, redis_broker: Broker) -> BreakConnection:
        return lambda backend: redis_broker.cut()


class OnRabbitMQ:
    """Tests on a real RabbitMQ."""

    @pytest.fixture
    def make_backend(self, amqp_broker: Broker) -> MakeBackend:
        return opener(amqp_broker.url)

    @pytest.fixture
    def break_connection(self, amqp_broker: Broker) -> BreakConnection:
        own(amqp_broker)
        return lambda backend: amqp_broker.cut()


class TestMemory(BackendContract):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        return opener("memory://workers")


class TestKombuMemory(BackendContract):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        return lambda channel: KombuBackend(["memory://"], channel=channel)


class TestRedis(OnRedis, BackendContract):
    pass


class TestRabbitMQ(OnRabbitMQ, BackendContract):
    pass


class TestRedisReconnects(OnRedis, ReconnectContract):
    pass


class TestRabbitMQReconnects(OnRabbitMQ, ReconnectContract):
    pass


class TestRedisRestarts(OnRedis, ReconnectContract):
    """A broker that dies and comes back is, to its clients, a cut that lasts."""

    @pytest.fixture
    def break_connection(self, redis_broker: Broker) -> BreakConnection:
        return lambda backend: own(redis_broker).restart()


def own(broker: Broker) -> Broker:
    """Return *broker*, which the test is going to disturb, so that it must not be shared."""
    if not isinstance(broker, (Redis, RabbitMQ)):
        pytest.skip("The broker named by the environment is not ours to break.")
    return broker


# Without a broker


def test_hubs_do_not_hear_each_other() -> None:
    """memory://one and memory://two are two brokers."""
    one, two = (from_url(f"memory://{name}", channel="x", options={}) for name in ("one", "two"))
    one.open()
    two.open()
    one.publish(b"one")
    two.publish(b"two")
    assert (one.receive(5), two.receive(5)) == (b"one", b"two")
    one.close()
    two.close()


def test_memory_knows_whether_it_is_alone() -> None:
    one, two, elsewhere = (MemoryBackend("tests", hub=hub) for hub in ("alone", "alone", "other"))
    assert not one.alone  # it is not there itself

    one.open()
    elsewhere.open()
    assert one.alone
    two.open()
    assert not one.alone
    assert not two.alone
    two.close()
    assert one.alone
    assert not two.alone
    one.close()
    elsewhere.close()


def test_memory_forgets_the_private_hub_of_each_application() -> None:
    """A test suite makes thousands of them."""
    before = dict(_hubs)
    backend = MemoryBackend("tests", private=True)
    backend.open()
    backend.publish(b"heard")
    assert backend.receive(5) == b"heard"
    assert (backend.alone, backend.audience()) == (True, 1)
    backend.close()

    assert _hubs == before


@pytest.mark.parametrize("timeout", [0.5, 30.0])
def test_memory_waits_for_a_payload(timeout: float) -> None:
    """It does not ask again and again, which would take a whole processor."""
    backend = MemoryBackend("tests", private=True)
    backend.open()
    turns = 0

    def receive() -> bytes | None:
        nonlocal turns
        while (payload := backend.receive(timeout)) is None:
            turns += 1
        return payload

    received = in_thread(receive)
    with pytest.raises(FutureTimeout):
        received.result(0.1)
    backend.publish(b"payload")

    assert received.result(30.0) == b"payload"
    assert turns < 100  # on a busy machine the timeout may be over before
    assert backend.receive(0) is None
    backend.close()


def test_memory_leaves_nothing_behind() -> None:
    """A hub without members keeps no inbox."""
    backend = MemoryBackend("x", hub="left")
    backend.open()
    inboxes = backend._inboxes
    assert len(inboxes) == 1
    backend.close()
    assert not inboxes


def test_kombus_memory_keeps_no_queue_of_a_closed_worker() -> None:
    """Nor does the fanout go on filling one."""
    closed, publisher = (KombuBackend(["memory://"], channel="left") for _ in range(2))
    closed.open()
    publisher.open()
    closed.close()
    publisher.publish(b"x")
    assert publisher.receive(5) == b"x"
    publisher.close()
    from kombu.transport.memory import Channel

    assert not [name for name in Channel.queues if name.startswith("left.")]


@pytest.mark.parametrize("backend", [MemoryBackend("x"), KombuBackend(["memory://"], channel="x")])
@pytest.mark.parametrize("payload", ["text", bytearray(b"x"), None, 1])
def test_only_bytes_are_published(backend: Backend, payload: Any) -> None:
    """Anything but bytes is the caller's mistake, and reaches no worker."""
    backend.open()
    with pytest.raises(TypeError, match="must be bytes"):
        backend.publish(payload)
    backend.publish(b"fence")
    assert backend.receive(5) == b"fence"
    backend.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "looks like memory://"),
        ("localhost:6379", "looks like memory://"),
        ([], "looks like memory://"),
        (None, "looks like memory://"),
        (["redis://host", None], "looks like memory://"),
        ("memory://;redis://host", "stands alone"),
        (f"carrier-pigeon://user:{PASSWORD}@host", "knows carrier-pigeon://"),
        (f"sqs://user:{PASSWORD}@host", r"pip install kombu\[sqs\]"),
        (f"sqla+sqlite:///user:{PASSWORD}@host", "malformed|cannot broadcast|pip install"),
        (f"redis://:12/{PASSWORD}@host/0", "Percent-encode"),
        (f"redis://:{PASSWORD}/x@host/0", "Percent-encode"),
        (f"amqp://user:{PASSWORD}#x@host//", "Percent-encode"),
        (f"amqp://user:{PASSWORD}@host:99999//", "port of the amqp:// URL"),
        ("redis://localhost:port", "port of the redis:// URL"),
        (f"redis://:{PASSWORD}@host:{PASSWORD}/0", "port of the redis:// URL"),
        (f"sentinel://:{PASSWORD}@host:26379", "master_name"),
        (f"redis://:{PASSWORD}@host;bogus://user:{PASSWORD}@host", "knows bogus://"),
    ],
)
def test_the_error_for_a_wrong_url_says_what_to_change(url: Any, words: str) -> None:
    """Every wrong URL raises ConfigurationError, whose message has a remedy and no password."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        from_url(url, channel="x", options={})
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("library", ["redis", "kombu"])
def test_a_missing_library_is_named_with_its_remedy(library: str) -> None:
    """Without what redis:// needs, the message says what to install."""
    program = f"""
import sys
sys.modules[{library!r}] = None
from flask_rooms.backends import from_url
from flask_rooms.errors import ConfigurationError
try:
    from_url("redis://:{PASSWORD}@host", channel="x", options={{}})
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "pip install flask-rooms[redis]" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize("channel", ["", "x" * 201])
def test_a_channel_has_a_name(channel: str) -> None:
    """A channel that no broker could carry is refused at once."""
    with pytest.raises(ConfigurationError, match="1 to 200 characters"):
        KombuBackend(["memory://"], channel=channel)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_an_absent_broker_is_named_without_its_password(scheme: str) -> None:
    """open() says which broker it cannot reach; the backend stays closed and can be closed."""
    port = free_port()
    backend = from_url(f"{scheme}://user:{PASSWORD}@127.0.0.1:{port}/", channel="x", options={})
    with pytest.raises(BackendError, match=f"{scheme}://127.0.0.1:{port}") as caught:
        backend.open()
    assert PASSWORD not in str(caught.value) + repr(backend)
    with pytest.raises(BackendError):
        backend.publish(b"x")
    assert backend.receive(0.01) is None
    backend.close()


def test_tls_is_verified_unless_configured_otherwise() -> None:
    """rediss:// and amqps:// check more of the certificate than Kombu by itself would."""
    from flask_rooms.backends.sessions import prepare

    def ssl(url: str, **chosen: Any) -> Any:
        return prepare(url, {"ssl": chosen} if chosen else {}).ssl

    verified = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert ssl("rediss://host") == verified
    assert ssl("rediss://host", ssl_ca_certs="x") == {**verified, "ssl_ca_certs": "x"}
    assert ssl("rediss://host", ssl_cert_reqs="none") == {"ssl_cert_reqs": "none"}
    assert ssl("amqps://host") == {"server_hostname": None}  # filled in by Kombu
    assert ssl("amqps://host", ca_certs="x") == {"server_hostname": None, "ca_certs": "x"}
    assert ssl("amqps://host", cert_reqs=0) == {"cert_reqs": 0}
    assert ssl("amqps://host", cert_reqs=2) == {"server_hostname": None, "cert_reqs": 2}
    assert ssl("rediss://host", ssl_cert_reqs="required") == verified
    assert ssl("redis://host") is False
    for chosen in (True, False, None):
        assert prepare("rediss://host", {"ssl": chosen}).ssl == verified
        assert prepare("amqps://host", {"ssl": chosen}).ssl == {"server_hostname": None}
    group = {"master_name": "group"}
    assert prepare("sentinel://host", {"ssl": True, **group}).ssl == verified
    assert prepare("sentinel://host", group).ssl is False


def test_a_scheme_may_be_in_capitals() -> None:
    """Else its certificate would not be verified."""
    backend = from_url("REDISS://host:1/0", channel="capitals", options={})
    assert repr(backend) == "<KombuBackend 'capitals' on rediss://host:1/0>"


def test_the_host_of_ipv6_is_shown_as_in_a_url() -> None:
    backend = from_url("redis://user:secret@[::1]:1/0", channel="ipv6", options={})
    assert repr(backend) == "<KombuBackend 'ipv6' on redis://[::1]:1/0>"


@pytest.mark.parametrize(
    ("url", "ssl", "message"),
    [
        ("redis://a;rediss://b", None, "All backend URLs have TLS, or none has"),
        ("redis://a", True, "needs a URL that begins with rediss://"),
        ("rediss://a", "/authority.pem", "is a dictionary"),
        ("rediss://a", {"ca_certs": "x"}, "'ca_certs' is called 'ssl_ca_certs' for rediss://"),
        ("amqps://a", {"ssl_ca_certs": "x"}, "'ssl_ca_certs' is called 'ca_certs' for amqps://"),
    ],
)
def test_what_tls_does_not_have_is_refused(url: str, ssl: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        from_url(url, channel="tls", options={"ssl": ssl})


# With a broker


def test_the_timeout_of_a_redis_is_that_of_the_options(redis_broker: Broker) -> None:
    from flask_rooms.backends.sessions import connect

    session: Any = connect([redis_broker.url], {"socket_timeout": 1.5}, "x")
    session.publish(b"x", None)

    assert session._redis._sock.gettimeout() == 1.5
    session.close()


def test_a_wrong_password_is_not_shown(amqp_broker: Broker) -> None:
    """A login that is refused says so, without the password."""
    port = urlsplit(amqp_broker.url).port
    url = f"amqp://guest:{PASSWORD}@127.0.0.1:{port}//"
    with pytest.raises(BackendError, match="ACCESS_REFUSED") as caught:
        from_url(url, channel="x", options={}).open()
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("separator", [";", None])
def test_the_next_url_is_tried(redis_broker: Broker, separator: str | None) -> None:
    """A list of URLs is gone through until a broker answers."""
    urls = [f"redis://127.0.0.1:{free_port()}/0", redis_broker.url]
    backend = from_url(separator.join(urls) if separator else urls, channel="x", options={})
    backend.open()
    backend.publish(b"x")
    assert backend.receive(5) == b"x"
    backend.close()


def heard(worker: Backend, payload: bytes) -> bool:
    """Publish *payload* and return whether it came back."""
    try:
        worker.publish(payload)
        return worker.receive(1) == payload
    except BackendError:
        return False


def eventually(condition: Callable[[], bool], patience: float = 30.0) -> None:
    """Poll until *condition* holds; each poll goes to the broker and so takes its time."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"


def test_redis_keeps_nothing_after_close(redis_broker: Broker) -> None:
    """No subscription and no key of the channel outlives its workers."""
    with (
        Workers(opener(redis_broker.url), patience=10) as workers,
        redis.Redis.from_url(redis_broker.url) as client,
    ):
        everyone = workers.open(2)
        ours = f"*{workers.channel}*"
        assert client.pubsub_channels(ours)
        for worker in everyone:
            worker.close()
        eventually(lambda: not client.pubsub_channels(ours))
        assert not client.keys(ours)


def test_rabbitmq_keeps_no_queue_after_close(amqp_broker: Broker) -> None:
    """The queue of a worker goes with its connection, and that which counts them soon after."""
    broker = own(amqp_broker)
    assert isinstance(broker, RabbitMQ)
    with Workers(opener(broker.url), patience=10) as workers:
        everyone = workers.open(2)
        assert "".join(broker.names("queue")).count(workers.channel) == 3
        for worker in everyone:
            worker.close()
        eventually(lambda: workers.channel not in "".join(broker.names("queue")))
        eventually(lambda: not broker.connections())


class ClosedMeanwhile(KombuBackend):
    """Is closed by another thread while it connects."""

    def _connect(self) -> Session:
        if self._publisher is not None:
            in_thread(self.close)
            eventually(lambda: self._publisher is None)
        return super()._connect()


@pytest.mark.mode_independent
def test_what_is_closed_while_it_opens_is_closed(redis_broker: Broker) -> None:
    """As by a script that ends while it connects again."""
    backend = ClosedMeanwhile([redis_broker.url], channel="closed-meanwhile")
    with suppress(BackendError):  # as the other thread goes on before or after it connects
        backend.open()
    with pytest.raises(BackendError, match="closed"):
        backend.publish(b"")


# Addresses


@pytest.fixture
def opened_on(request: pytest.FixtureRequest) -> MakeBackend:
    """Return a function that returns a new backend, on the broker of the parameter."""
    if request.param == "memory":
        return opener("memory://addresses")
    return opener(request.getfixturevalue(f"{request.param}_broker").url)


@pytest.mark.parametrize("opened_on", ["memory", "redis", "amqp"], indirect=True)
def test_what_is_for_one_worker_reaches_no_other(opened_on: MakeBackend) -> None:
    """An address is that of one worker, and a new one replaces it."""
    with Workers(opened_on, patience=10) as workers:
        one, other = workers.open_at("one", "other")
        far = workers.make(workers.channel + "-b")
        far.address = "other"
        far.open()
        one.publish_to("other", b"for the other")
        far.publish(b"far")
        one.publish(b"fence")
        assert workers.take(other, 2) == [b"for the other", b"fence"]
        assert workers.next(one) == b"fence"
        assert workers.next(far) == b"far"
        other.close()
        other.address = "new"
        other.open()
        one.publish_to("other", b"for nobody")
        one.publish_to("new", b"for the new")
        assert workers.next(other) == b"for the new"


# A worker that hangs


def test_rabbitmq_keeps_a_bounded_part_of_what_a_worker_has_missed(amqp_broker: Broker) -> None:
    """It drops the oldest, for a worker that hangs; the worker goes on with what comes later."""
    broker = own(amqp_broker)
    assert isinstance(broker, RabbitMQ)
    payload = bytes(1 << 20)
    with Workers(opener(broker.url), patience=30) as workers:
        publisher, hanging = workers.open(2)
        # What RabbitMQ has on the way to a consumer is bounded by itself, to 200 messages.
        published = 200 + 2 * QUEUE_BYTES // len(payload)
        for _ in range(published):
            publisher.publish(payload)
            assert workers.next(publisher) == payload
        (waiting,) = [
            size
            for name, size in broker.waiting().items()
            if name.startswith(workers.channel + ".") and size
        ]
        assert waiting <= QUEUE_BYTES
        publisher.publish(b"fence")
        received = 0
        while workers.next(hanging) != b"fence":
            received += 1
        assert 0 < received < published


def test_redis_hangs_up_on_a_worker_that_has_missed_too_much(redis_broker: Broker) -> None:
    """Its receive() says so, and it connects again; the cluster asks for what it missed."""
    payload = bytes(1 << 20)
    with Workers(opener(redis_broker.url), patience=30) as workers:
        publisher, hanging = workers.open(2)
        assert publisher.audience() == 2
        while publisher.audience() == 2:
            publisher.publish(payload)
            assert workers.next(publisher) == payload
        with pytest.raises(BackendError):
            read_on(workers, hanging)
        eventually(lambda: heard(hanging, b"back"))
        assert publisher.audience() == 2


def read_on(workers: Workers, worker: Backend) -> None:
    """Receive until there is an error."""
    while True:
        workers.next(worker)


# The audience


WORKER = """
import sys
from flask_rooms.backends import from_url
backend = from_url(sys.argv[1], channel=sys.argv[2], options={})
backend.open()
print("open", flush=True)
while True:
    backend.receive(60)
"""


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_killed_worker_leaves_the_audience(kind: str, request: pytest.FixtureRequest) -> None:
    """The broker knows at once of the end of a process, which could not say goodbye."""
    broker: Broker = request.getfixturevalue(f"{kind}_broker")
    with Workers(opener(broker.url), patience=30) as workers:
        (worker,) = workers.open()
        assert worker.audience() == 1
        command = [sys.executable, "-c", WORKER, broker.url, workers.channel]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"open\n"
                assert worker.audience() == 2
            finally:
                process.kill()
        eventually(lambda: worker.audience() == 1)


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_the_audience_is_unknown_while_the_broker_is_away(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """It is None then, not an error, and right again after the broker's return."""
    broker = own(request.getfixturevalue(f"{kind}_broker"))
    with Workers(opener(broker.url), patience=30) as workers:
        everyone = workers.open(2)
        broker.kill()
        try:
            assert [worker.audience() for worker in everyone] == [None] * 2
        finally:
            broker.restart()
        for worker in everyone:
            eventually(lambda worker=worker: heard(worker, b"back"))  # type: ignore[misc]
        assert [worker.audience() for worker in everyone] == [2, 2]


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_mute_broker_tells_no_audience(kind: str, request: pytest.FixtureRequest) -> None:
    """A broker that does not answer is given up in a bounded time."""
    broker = own(request.getfixturevalue(f"{kind}_broker"))
    with Workers(opener(broker.url), patience=30) as workers:
        (worker,) = workers.open()
        broker.pause()
        try:
            assert workers.finish(workers.start(worker.audience)) is None
        finally:
            broker.resume()
        eventually(lambda: worker.audience() == 1)


def test_rabbitmq_counts_again_when_the_roll_is_lost(amqp_broker: Broker) -> None:
    """A worker whose consumer is cancelled subscribes anew, so none is subscribed uncounted."""
    broker = own(amqp_broker)
    assert isinstance(broker, RabbitMQ)
    with Workers(opener(broker.url), patience=30) as workers:
        everyone = workers.open(2)
        broker.control("delete_queue", f"{workers.channel}:roll-0")
        assert everyone[0].audience() is None
        for worker in everyone:
            with pytest.raises(BackendError):
                worker.receive(30)
            eventually(lambda worker=worker: heard(worker, b"back"))  # type: ignore[misc]
        assert [worker.audience() for worker in everyone] == [2, 2]


@pytest.mark.parametrize("use", ["receive", "publish"])
def test_why_rabbitmq_has_closed_the_connection_is_told(amqp_broker: Broker, use: str) -> None:
    broker = own(amqp_broker)
    with Workers(opener(broker.url), patience=30) as workers:
        (worker,) = workers.open()
        broker.cut()
        with pytest.raises(BackendError, match="CONNECTION_FORCED - cut by a test"):
            worker.receive(30) if use == "receive" else worker.publish(b"")


def test_closing_connects_no_more_to_rabbitmq(amqp_broker: Broker) -> None:
    """py-amqp connects again when it is used after the broker has agreed to the end."""
    with Proxy(amqp_broker.url) as proxy, Workers(opener(proxy.url), patience=30) as workers:
        (worker,) = workers.open()
        opened = proxy.accepted()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # py-amqp's of that, which raises an error in tests
            worker.close()
        assert proxy.accepted() == opened


def test_counting_costs_rabbitmq_no_channels_and_no_errors(amqp_broker: Broker) -> None:
    """Each count asked for queues that are not there: an error in its log, and a channel, each."""
    broker = own(amqp_broker)
    assert isinstance(broker, RabbitMQ)
    with Workers(opener(broker.url), patience=30) as workers:
        worker, _ = workers.open(2)
        assert worker.audience() == 2
        channels = broker.channels()
        assert [worker.audience() for _ in range(20)] == [2] * 20
        assert broker.channels() <= channels  # those of an earlier test may have ended
        assert workers.channel not in broker.output()


def test_what_is_published_to_the_roll_reaches_no_worker(amqp_broker: Broker) -> None:
    """Messages find out there whether it exists; they are none of the cluster."""
    with Workers(opener(amqp_broker.url), patience=30) as workers:
        (worker,) = workers.open()
        with Connection(amqp_broker.url) as connection:
            # Its only consumer is the worker, which RabbitMQ gives this before what follows.
            connection.default_channel.basic_publish(
                connection.default_channel.prepare_message(b"stray"),
                routing_key=f"{workers.channel}:roll-0",
            )
            connection.default_channel.queue_declare(f"{workers.channel}:roll-0", passive=True)
        worker.publish(b"fence")
        assert workers.next(worker) == b"fence"


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_mute_broker_blocks_no_caller_for_ever(kind: str, request: pytest.FixtureRequest) -> None:
    """While the broker does not answer, every call still ends; then the worker is back."""
    broker = own(request.getfixturevalue(f"{kind}_broker"))
    with Workers(opener(broker.url), patience=30) as workers:
        worker, leaving = workers.open(2)
        broker.pause()
        try:
            with pytest.raises(BackendError):
                flood(worker)
            workers.finish(workers.start(leaving.close))
        finally:
            broker.resume()
        eventually(lambda: heard(worker, b"back"))


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_call_does_not_connect_anew_after_it_has_waited_for_a_count(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """What has waited for a broker that does not answer another thread is not to wait once more."""
    broker = own(request.getfixturevalue(f"{kind}_broker"))
    with Workers(opener(broker.url), patience=30) as workers:
        (worker,) = workers.open()
        counting = threading.Event()

        def count() -> None:
            counting.set()
            worker.audience()

        broker.pause()
        try:
            counted: Future[object] = workers.start(count)
            assert counting.wait(30)
            call: Future[object] = workers.start(lambda: worker.publish(b"x"))
            twice: Future[object] = workers.start(lambda: threading.Event().wait(1.8 * TIMEOUT))
            assert wait([call, twice], 30, FIRST_COMPLETED).done == {call}
            assert isinstance(call.exception(), BackendError)
            workers.finish(counted)
        finally:
            broker.resume()
        eventually(lambda: heard(worker, b"back"))


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_goodbye_waits_less_than_a_call(kind: str, request: pytest.FixtureRequest) -> None:
    """A broker that does not answer is left before a publish() would give it up."""
    broker = own(request.getfixturevalue(f"{kind}_broker"))
    with Workers(opener(broker.url), patience=30) as workers:
        (leaving,) = workers.open()
        broker.pause()
        try:
            goodbye: Future[object] = workers.start(leaving.close)
            call: Future[object] = workers.start(lambda: threading.Event().wait(TIMEOUT))
            assert wait([call, goodbye], 30, FIRST_COMPLETED).done == {goodbye}
        finally:
            broker.resume()


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_worker_that_only_receives_is_closed(kind: str, request: pytest.FixtureRequest) -> None:
    """Nothing that it sends reaches the broker, and the messages of others go on to arrive."""
    broker = own(request.getfixturevalue(f"{kind}_broker"))
    with Proxy(broker.url) as proxy, Workers(opener(broker.url), patience=30) as workers:
        (speaker,) = workers.open()
        backend = KombuBackend([proxy.url], channel=workers.channel)
        backend.open()
        ended = threading.Event()
        proxy.silence(UP, newcomers=False)

        def speak() -> None:
            while not ended.wait(0.05):
                speaker.publish(b"still here")

        speaking: Future[object] = workers.start(speak)
        try:
            workers.finish(workers.start(backend.close))
        finally:
            ended.set()
            workers.finish(speaking)


def flood(worker: Backend) -> None:
    """Publish more than the buffers of a connection take."""
    payload = bytes(1 << 20)
    for _ in range(64):
        worker.publish(payload)


FORK = """
import os, sys
from flask_rooms.backends import from_url
backend = from_url(sys.argv[1], channel=sys.argv[2], options={})
backend.open()
child = os.fork()
if not child:
    backend.open()
    backend.publish(b"child")
    assert backend.receive(10) == b"child"
    backend.close()
    sys.exit()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert backend.receive(10) == b"child"
backend.publish(b"parent")
assert backend.receive(10) == b"parent"
backend.close()
"""


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_forked_child_starts_afresh(kind: str, request: pytest.FixtureRequest) -> None:
    """A child opens connections of its own, and those of its parent outlive it."""
    broker: Broker = request.getfixturevalue(f"{kind}_broker")
    command = [sys.executable, "-c", FORK, broker.url, f"fork-{free_port()}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
