"""Blueprints of applications that match hosts."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from flask_rooms.errors import ConfigurationError


class HostBlueprint(Blueprint):
    """
    A blueprint whose routes are on one host, in an application that matches hosts.

    Args:
        name: As of any blueprint.
        import_name: As of any blueprint.
        host: The host; None in an application that does not match hosts.
    """

    def __init__(self, name: str, import_name: str, host: str | None) -> None:
        super().__init__(name, import_name)
        self._host = host

    def register(self, app: Any, options: dict[str, Any]) -> None:
        """
        Register the routes.

        Raises:
            ConfigurationError: There is no host and the application matches hosts, where the
                routes would match none; or the reverse, where they would be on each host.
        """
        if app.url_map.host_matching and self._host is None:
            raise ConfigurationError(
                "This application matches hosts, and a route without one matches none: give "
                'blueprint() the host= that it is to be on, such as "internal.example:8000".'
            )
        if self._host is not None and not app.url_map.host_matching:
            raise ConfigurationError(
                "This application does not match hosts, so the blueprint would be on each of them: "
                "leave out host=, or create the application with host_matching=True."
            )
        super().register(app, options)

    def add_url_rule(self, rule: str, *args: Any, **options: Any) -> None:
        """Add a route, on the host."""
        super().add_url_rule(rule, *args, host=self._host, **options)
