"""The calls that applications make: Sockets and Queries."""
