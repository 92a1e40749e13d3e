"""Load on real workers and a real broker, faults of every kind, and the promises checked."""
