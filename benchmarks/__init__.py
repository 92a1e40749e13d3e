"""Flask-Rooms beside its peers: leaves lost to a fault, and how fast one is."""
