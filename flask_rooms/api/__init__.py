"""The calls that applications make."""
