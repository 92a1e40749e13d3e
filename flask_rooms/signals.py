"""Signals for the membership changes of this worker's sockets, and for the end of other workers."""

from blinker import Namespace

_signals = Namespace()

#: A room has its first member on this worker.
room_created = _signals.signal("room-created")
#: A socket of this worker has become a member of a room.
joined = _signals.signal("joined")
#: A socket of this worker is no longer a member of a room.
left = _signals.signal("left")
#: A room has lost its last member on this worker.
room_deleted = _signals.signal("room-deleted")
#: A person has come into a room that `@rooms.presence()` tracks: sent on one worker of the cluster.
user_joined = _signals.signal("user-joined")
#: A person has left such a room: sent on one worker of the cluster.
user_left = _signals.signal("user-left")
#: Another worker is gone: it has said goodbye, or counts as dead.
worker_gone = _signals.signal("worker-gone")
