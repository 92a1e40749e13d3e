"""The blueprint that answers whether a worker is alive and ready, and with its metrics."""

from flask_rooms.monitoring.views import blueprint

__all__ = ["blueprint"]
