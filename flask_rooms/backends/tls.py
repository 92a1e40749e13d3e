"""TLS for connections to a broker, whose certificate is verified unless an option says else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ssl import CERT_NONE
from typing import Any

from flask_rooms.errors import BackendError, ConfigurationError

#: How the URL of a broker begins that speaks TLS.
_SCHEMES = ("rediss", "amqps")
#: Whose options are those of redis-py, and whose are those of py-amqp.
_OF_REDIS, _OF_AMQP = ("redis", "rediss", "sentinel"), ("amqp", "amqps")

#: The options of redis-py and of py-amqp that name files.
_FILES = {
    *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),
    *("ca_certs", "certfile", "keyfile"),
}


def check_together(urls: Sequence[str]) -> None:
    """Raise ConfigurationError for URLs of which some have TLS and some have not."""
    if len({url.partition("://")[0] in _SCHEMES for url in urls}) > 1:
        raise ConfigurationError(
            "All backend URLs have TLS, or none has: begin each with rediss:// or amqps://."
        )


def check_options(scheme: str, chosen: Any) -> None:
    """
    Raise ConfigurationError for an option `ssl` that does not fit the URL.

    Args:
        scheme: That of the URL, in lower case.
        chosen: The value of the option, or None.
    """
    if chosen is True and scheme in ("redis", "amqp"):
        raise ConfigurationError(
            'The option {"ssl": True} needs a URL that begins with rediss:// or amqps://.'
        )
    if chosen is not None and not isinstance(chosen, bool | Mapping):
        raise ConfigurationError(
            'The option "ssl" is a dictionary, such as {"ssl_ca_certs": "/path/to/authority.pem"}.'
        )
    for name in map(str, chosen) if isinstance(chosen, Mapping) else ():
        has_prefix = name.startswith("ssl_")
        if scheme in _OF_REDIS and not has_prefix:
            raise _misnamed(name, f"ssl_{name}", scheme)
        if scheme in _OF_AMQP and has_prefix and name != "ssl_version":
            raise _misnamed(name, name.removeprefix("ssl_"), scheme)


def _misnamed(name: str, right: str, scheme: str) -> ConfigurationError:
    return ConfigurationError(f"The ssl option {name!r} is called {right!r} for {scheme}://.")


def tls_options(scheme: str, chosen: Any) -> Any:
    """
    Return Kombu's `ssl` option: the broker is verified unless *chosen* says how else.

    Args:
        scheme: That of the URLs, in lower case.
        chosen: The value of the option, or None.
    """
    options = dict(chosen) if isinstance(chosen, Mapping) else {}  # Kombu modifies it
    has_tls = scheme in _SCHEMES or (scheme == "sentinel" and (options or chosen is True))
    wanted = options.get("ssl_cert_reqs", options.get("cert_reqs"))
    if not has_tls or wanted in ("none", "CERT_NONE", CERT_NONE):
        return options or False
    if scheme in _OF_REDIS:
        # Kombu's default is no verification, and a warning; that of old redis-py any host.
        return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **options}
    return {"server_hostname": None, **options}  # connect() fills in that of the URL


def check_files(ssl: Any) -> None:
    """Raise an error that names a file for TLS which cannot be read: Python's own does not."""
    chosen = ssl if isinstance(ssl, dict) else {}
    for option in _FILES & chosen.keys():
        if isinstance(chosen[option], str):
            try:
                open(chosen[option], "rb").close()
            except OSError as error:
                text = f"The file of the ssl option {option!r} cannot be read: {error}"
                raise BackendError(text) from None
