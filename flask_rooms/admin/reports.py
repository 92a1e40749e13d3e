"""What the admin page shows, as data; each list is bounded."""

from __future__ import annotations

from typing import Any

from flask_rooms.api.overview import overview
from flask_rooms.api.parts import Parts
from flask_rooms.protocol.ids import is_sid, owner_of
from flask_rooms.results import WorkerInfo

#: Entries of a list: what a person can look through.
MOST = 200
#: Sockets of one person whose rooms are asked for.
_SOCKETS = 20
#: Seconds to wait for the workers; a worker that does not answer is named.
_TIMEOUT = 2.0


def cluster(parts: Parts) -> dict[str, Any]:
    """Return the workers with their numbers, and the latest acts."""
    found = overview(parts.cluster, _TIMEOUT)
    workers = [
        {**_worker(one), "version": one.version, "age": one.age, "numbers": numbers}
        for one, numbers in sorted(found.workers.items())
    ]
    return {
        "workers": workers,
        "totals": found.totals,
        "complete": found.complete,
        "missing": [*map(_worker, found.missing)],
        "here": parts.cluster.name,
        "acts": parts.audit_log.latest(MOST),
    }


def rooms(parts: Parts, prefix: str = "", namespace: str = "/") -> dict[str, Any]:
    """Return the largest rooms whose names begin with *prefix*."""
    answer = parts.sockets.rooms(prefix, namespace=namespace, timeout=_TIMEOUT)
    largest = sorted(answer.value.items(), key=lambda item: (-item[1], str(item[0])))
    found = [{"name": str(name), "members": count} for name, count in largest[:MOST]]
    return {"rooms": found, "count": len(largest), "complete": answer.complete}


def room(parts: Parts, name: str = "", namespace: str = "/") -> dict[str, Any]:
    """Return who is in a room."""
    ask = parts.sockets.members
    sids = ask(name, namespace=namespace, timeout=_TIMEOUT)
    people = ask(name, by="user", namespace=namespace, timeout=_TIMEOUT)
    return {
        "name": name,
        "sockets": [_socket(parts, sid) for sid in sorted(sids.value)[:MOST]],
        "count": len(sids.value),
        "users": sorted(people.value)[:MOST],
        "complete": sids.complete and people.complete,
    }


def people(parts: Parts, text: str = "", namespace: str = "/") -> dict[str, Any]:
    """Return the users whose IDs contain *text*."""
    answer = parts.sockets.users(namespace=namespace, timeout=_TIMEOUT)
    found = sorted(one for one in answer.value if text in one)
    return {"users": found[:MOST], "count": len(found), "complete": answer.complete}


def person(parts: Parts, id: str = "", namespace: str = "/") -> dict[str, Any]:
    """Return the sockets of a user, or the one of this ID, each with its rooms."""
    if is_sid(id):
        sids, complete = [id], True
    else:
        answer = parts.sockets.members(user=id, namespace=namespace, timeout=_TIMEOUT)
        sids, complete = sorted(answer.value), answer.complete
    sockets = []
    for sid in sids[:_SOCKETS]:
        found = parts.sockets.rooms_of(sid, namespace=namespace, timeout=_TIMEOUT)
        names = sorted(map(str, found.value))[:MOST]
        sockets.append({**_socket(parts, sid), "rooms": names})
    about = {"id": id, "is_socket": is_sid(id)}
    return {**about, "sockets": sockets, "count": len(sids), "complete": complete}


def _socket(parts: Parts, sid: str) -> dict[str, Any]:
    return {"sid": sid, "worker": _worker(parts.cluster.info(owner_of(sid)))}


def _worker(worker: str) -> dict[str, Any]:
    found = worker if isinstance(worker, WorkerInfo) else WorkerInfo(worker)
    return {"name": str(found), "host": found.host, "pid": found.pid}
