"""The sockets of this worker and the rooms that they are in."""
