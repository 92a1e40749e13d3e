"""Benchmarks of Flask-Rooms and its peers: leaves lost to a fault, and the time of a leave."""
