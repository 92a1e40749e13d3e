"""The clients that users have, against real workers."""
