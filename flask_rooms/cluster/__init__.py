"""A worker's connection to the others: threads and locks around the protocol and a backend."""
