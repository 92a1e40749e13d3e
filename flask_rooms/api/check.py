"""What is wrong between this worker and the others, by its kind, for `flask rooms check`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask_rooms.api.queries import Queries
from flask_rooms.backends.memory import MemoryBackend
from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.transport import remedy
from flask_rooms.history.keeper import Keeper
from flask_rooms.results import Answer, WorkerInfo

#: Kind -> exit status. Click has 2 for itself.
STATUSES = {
    "ok": 0,
    "memory": 1,
    "broker": 3,
    "name": 4,
    "refused": 5,
    "timeout": 6,
    "tls": 7,
    "password": 8,
    "permission": 9,
    "vhost": 10,
    "replica": 11,
    "redis-cluster": 12,
    "alone": 13,
    "elsewhere": 14,
    "key": 15,
    "version": 16,
    "interval": 17,
    "silent": 18,
    "incomplete": 19,
    "size": 20,
    "history": 21,
}
#: How much longer one heartbeat interval may be than another. A worker is dead to another one after
#: four of the longer intervals.
MAX_RATIO = 1.5
#: Seconds before the workers are asked again, while more are connected than have answered.
_ASK_INTERVAL = 0.1

ONLY_ITSELF = (
    "memory:// connects the workers of one process, so this command has no other workers: set "
    "ROOMS_BACKEND_URL to a broker's URL."
)
_ANY = "start the broker, or correct ROOMS_BACKEND_URL."
_MUTE = (
    "it takes what is published, and delivers nothing. RabbitMQ does so while it has an alarm, as "
    "memory or the disk runs out: see `rabbitmq-diagnostics alarms`."
)
_TLS = r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerification|\[(SSL|X509)"
_AUTHORITY = (
    "the certificate of the broker cannot be verified: give its authority in "
    'ROOMS_BACKEND_OPTIONS = {"ssl": {"%s": ...}}, or check that it speaks TLS.'
)
#: What the error of a driver contains -> the kind and what to do; the first that fits counts.
_BROKER: tuple[tuple[str, str, str], ...] = (
    (
        r"Name or service not known|name resolution|nodename nor servname|No address associated",
        "name",
        "the host name in ROOMS_BACKEND_URL cannot be resolved.",
    ),
    (
        r"The file of the ssl option",
        "tls",
        "correct the file that ROOMS_BACKEND_OPTIONS names, or let this user read it.",
    ),
    (rf"amqps://.*({_TLS})", "tls", _AUTHORITY % "ca_certs"),
    (_TLS, "tls", _AUTHORITY % "ssl_ca_certs"),
    (
        # redis-py leaves out the code. py-amqp names the method that is refused; a login is none.
        r"NOPERM|NoPermission|has no permissions to"
        r"|[a-z]\.[a-z_]+: \(403\)|access to (exchange|queue)",
        "permission",
        "the broker does not allow this user what Flask-Rooms does: PUBLISH, SUBSCRIBE and PUBSUB "
        "on Redis, SELECT where the URL has a database; configure, write and read on RabbitMQ.",
    ),
    (
        r"vhost|NOT_ALLOWED|NotAllowed",
        "vhost",
        "the virtual host does not exist, or this user has no access to it: check the path of "
        "ROOMS_BACKEND_URL.",
    ),
    (
        r"WRONGPASS|NOAUTH|AuthenticationError|invalid username-password|invalid password"
        r"|ACCESS_REFUSED|AccessRefused|without any password configured|Authentication required",
        "password",
        "the broker refuses the user or the password in ROOMS_BACKEND_URL.",
    ),
    (
        r"READONLY|ReadOnly|read only replica",
        "replica",
        "this Redis is a read-only replica: connect all workers to its master.",
    ),
    (
        r"MOVED|CLUSTERDOWN|CROSSSLOT|cluster mode",
        "redis-cluster",
        "Redis Cluster is not supported: use one Redis, or Sentinel.",
    ),
    (r"Connection refused|ConnectionRefused", "refused", "no broker listens there: start it."),
    (r"\b[Tt]imed? ?out|TimeoutError", "timeout", "the broker does not answer in time."),
)


@dataclass(frozen=True)
class Finding:
    """
    What a check has found.

    Args:
        kind: One of `STATUSES`.
        message: What is wrong, and what to do.
        workers: The workers that have answered, including this one.
    """

    kind: str
    message: str
    workers: frozenset[WorkerInfo] = frozenset()

    @property
    def status(self) -> int:
        """The exit status."""
        return STATUSES[self.kind]


def of_broker(cluster: Cluster) -> Finding | None:
    """Return why this worker does not receive its own messages, or None."""
    if cluster.hears_itself:
        return None
    begin = f"No message arrives over {cluster.backend!r}, not even this command's own"
    if cluster.broker_error is None:
        return Finding("broker", f"{begin}: {_MUTE}")
    kind, advice = kind_of_error(cluster.broker_error)
    return Finding(kind, f"{begin}: {advice} ({cluster.broker_error})")


def kind_of_error(error: str) -> tuple[str, str]:
    """Return the kind of a broker's error, and what to do."""
    for pattern, kind, advice in _BROKER:
        if re.search(pattern, error):
            return kind, advice
    return "broker", _ANY


def _of_unfit(cluster: Cluster) -> Finding | None:
    found = cluster.backend.unfit()
    for _, kind, advice in _BROKER:
        if kind == found:
            return Finding(kind, f"{cluster.backend!r} does not connect all workers: {advice}")
    return None


def _of_history(history: Keeper) -> Finding | None:
    problem = history.problem
    if problem is None:
        return None
    message = (
        "What the history of rooms is kept in cannot be reached, or refuses: start it, or correct "
        f"ROOMS_HISTORY_URL. ({problem})"
    )
    return Finding("history", message)


def check(cluster: Cluster, queries: Queries, history: Keeper) -> Finding:
    """Ask all workers, and return what is wrong; call it when this worker has joined."""
    if isinstance(cluster.backend, MemoryBackend):
        return Finding("memory", ONLY_ITSELF)
    finding = of_broker(cluster) or _of_unfit(cluster) or _of_history(history)
    if finding is not None:
        return finding
    answer = _ask(cluster, queries)
    return (
        _of_dropped(cluster.dropped)
        or _of_others(cluster, answer)
        or _of_missing(answer)
        or _of_silent(cluster, answer)
        or _of_incomplete(answer)
        or Finding("ok", f"All workers on {cluster.backend!r} have answered.", answer.value)
    )


def _ask(cluster: Cluster, queries: Queries) -> Answer[frozenset[WorkerInfo]]:
    """
    Return which workers have answered; where more are connected, ask until each had to be heard.

    The others may vouch that there is no other worker before one of another key has sent anything.
    """
    deadline = _deadline(cluster)
    while True:
        answer = queries.workers()
        audience = cluster.backend.audience() or 0
        if cluster.dropped or audience <= len(answer.value) or time.monotonic() > deadline:
            return answer
        cluster.receiver.stopped.wait(_ASK_INTERVAL)


def _deadline(cluster: Cluster) -> float:
    """Return by when a worker that is connected had to be heard, by the monotonic clock."""
    interval = cluster.info(cluster.name).heartbeat_interval or 0.0
    return time.monotonic() + MAX_RATIO * interval


def unanswered(cluster: Cluster, answer: Answer[Any]) -> Finding | None:
    """Return why an answer has no part of every worker, or None if it has."""
    return (
        _of_dropped(cluster.dropped)
        or _of_missing(answer)
        or unheard(cluster)
        or _of_incomplete(answer)
    )


def unheard(cluster: Cluster) -> Finding | None:
    """
    Return why a worker that is connected was not asked, or None.

    Waits for one that has not been heard, which may have just started or have another key.
    """
    deadline = _deadline(cluster)
    while (finding := _of_dropped(cluster.dropped)) is None:
        heard = len(cluster.known_workers[0]) + 1
        finding = _of_uncounted(cluster, heard)
        if finding is None or time.monotonic() > deadline:
            break
        cluster.receiver.stopped.wait(_ASK_INTERVAL)
    return finding


def described(workers: Iterable[str]) -> str:
    """Return the names of workers, with where they run."""
    return ", ".join(getattr(one, "description", one) for one in sorted(workers))


def _of_dropped(dropped: dict[str, int]) -> Finding | None:
    kinds = {"unsigned": "key", "malformed": "key", "version": "version", "oversized": "size"}
    for reason, count in dropped.items():
        message = f"Messages were dropped ({reason}: {count}). {remedy(reason)}"
        return Finding(kinds.get(reason, "key"), message)
    return None


def _of_missing(answer: Answer[Any]) -> Finding | None:
    if not answer.missing:
        return None
    message = (
        f"No answer from {described(answer.missing)}: check these workers. A worker that was "
        "killed is removed after four heartbeat intervals."
    )
    return Finding("silent", message)


def _of_others(cluster: Cluster, answer: Answer[frozenset[WorkerInfo]]) -> Finding | None:
    own = cluster.info(cluster.name)
    # Also those that are heard no more: a worker that is faster may count this one as dead already.
    for other in sorted(cluster.heard):
        if other.heartbeat_interval and own.heartbeat_interval:
            pair = sorted([other.heartbeat_interval, own.heartbeat_interval])
            if pair[1] > MAX_RATIO * pair[0]:
                message = (
                    f"ROOMS_HEARTBEAT_INTERVAL is {other.heartbeat_interval:g} seconds for "
                    f"{other.description} and {own.heartbeat_interval:g} here: set the same on "
                    "every worker, as the end of a worker is noticed by the longer one."
                )
                return Finding("interval", message, answer.value)
        if other.version and other.version != own.version:
            message = (
                f"{other.description} has version {other.version} of Flask-Rooms, and this command "
                f"{own.version}: finish the upgrade."
            )
            return Finding("version", message, answer.value)
    return None


def _of_silent(cluster: Cluster, answer: Answer[frozenset[WorkerInfo]]) -> Finding | None:
    heard = len(answer.value)
    finding = _of_uncounted(cluster, heard, answer.value)
    if finding is not None:
        return finding
    if heard > 1:
        return None
    elsewhere = cluster.backend.elsewhere()
    if elsewhere:
        message = (
            f"There is no other worker on {cluster.backend!r}. Workers are connected elsewhere on "
            f"this broker: {'; '.join(elsewhere)}. Compare the database in ROOMS_BACKEND_URL, and "
            "ROOMS_CHANNEL."
        )
        return Finding("elsewhere", message, answer.value)
    message = (
        f"There is no other worker on {cluster.backend!r}: start a worker with the same "
        "ROOMS_BACKEND_URL (host, port and database or virtual host) and ROOMS_CHANNEL."
    )
    return Finding("alone", message, answer.value)


def _of_uncounted(
    cluster: Cluster, heard: int, workers: frozenset[WorkerInfo] = frozenset()
) -> Finding | None:
    audience = cluster.backend.audience() or 0
    if audience <= heard:
        return None
    message = (
        f"{audience} workers are connected to {cluster.backend!r}, and {heard} were heard, "
        "including this command: the others hang or are stopped, or have just started."
    )
    return Finding("silent", message, workers)


def _of_incomplete(answer: Answer[Any]) -> Finding | None:
    if answer.complete:
        return None
    message = (
        "Some workers may not have been discovered yet: set ROOMS_CONFIRM_TIMEOUT to at least "
        "twice ROOMS_HEARTBEAT_INTERVAL."
    )
    return Finding("incomplete", message)
