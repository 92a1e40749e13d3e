"""Random, structure-aware noise at the edges of a worker, and what it leaves there."""

#: The exit status of a run that has no broker.
MISSING = 3
