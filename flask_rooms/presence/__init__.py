"""Presence: who is in the rooms that are tracked, on every worker, and in the lists of clients."""
