"""The blueprint of the admin page: the cluster as it is, for those whom the application admits."""

from flask_rooms.admin.views import blueprint

__all__ = ["blueprint"]
