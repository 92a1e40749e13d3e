"""Load on real workers and a real broker, faults of every kind, and the promises checked."""

#: The exit status of a run that has no broker to break.
MISSING = 3
