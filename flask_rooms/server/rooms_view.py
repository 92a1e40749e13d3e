"""A read-only view of the registry in the form of python-socketio's `manager.rooms`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flask_rooms.membership.registry import Registry
from flask_rooms.protocol.messages import Room


class RoomsView(Mapping[str, Mapping["Room | None", Mapping[str, str]]]):
    """
    The rooms of this worker's sockets: namespace -> room -> socket ID -> Engine.IO session.

    The room None has all sockets, as in python-socketio. Each access reads the registry.

    Args:
        registry: The sockets of this worker.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __repr__(self) -> str:
        return repr({namespace: self.get(namespace, {}) for namespace in self})  # or it is gone

    def __getitem__(self, namespace: str) -> Mapping[Room | None, Mapping[str, str]]:
        if namespace not in self._registry.namespaces():
            raise KeyError(namespace)
        return _NamespaceView(self._registry, namespace)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.namespaces())

    def __len__(self) -> int:
        return len(self._registry.namespaces())


class _NamespaceView(Mapping["Room | None", Mapping[str, str]]):
    def __init__(self, registry: Registry, namespace: str) -> None:
        self._registry = registry
        self._namespace = namespace

    def __repr__(self) -> str:
        return repr({room: self.get(room, {}) for room in self})

    def __getitem__(self, room: Room | None) -> Mapping[str, str]:
        members = self._registry.members(self._namespace, None if room is None else (room,))
        if not members:
            raise KeyError(room)
        return members

    def __iter__(self) -> Iterator[Room | None]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> dict[Room | None, None]:
        names: dict[Room | None, None] = {}
        for sid in self._registry.members(self._namespace, None):
            names |= dict.fromkeys((None, *self._registry.rooms_of(self._namespace, sid)))
        return names
