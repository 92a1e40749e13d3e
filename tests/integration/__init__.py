"""Several workers, in one process or in several, with real brokers."""
