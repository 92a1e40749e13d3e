"""Brokers with TLS; the tests themselves talk to them on another port, without."""

from __future__ import annotations

from tests.support.brokers import RabbitMQ, Redis, free_port
from tests.support.certificates import Certificates


class TlsRedis(Redis):
    """
    A Redis that workers reach by rediss://.

    Args:
        host: Whom its certificate is for.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        super().__init__()

    def _prepare(self) -> None:
        super()._prepare()
        self._certificates = Certificates(self._directory, self._host)
        self._tls_port = free_port()
        self.plain = self.url
        self.url = f"rediss://127.0.0.1:{self._tls_port}/0"
        self.options = {"ssl": {"ssl_ca_certs": str(self._certificates.authority)}}

    def _command(self) -> list[str]:
        settings = {
            "tls-port": self._tls_port,
            "tls-cert-file": self._certificates.certificate,
            "tls-key-file": self._certificates.key,
            "tls-ca-cert-file": self._certificates.authority,
            "tls-auth-clients": "no",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        return [*super()._command(), *options]

    def _control_url(self) -> str:
        return self.plain


class TlsRabbitMQ(RabbitMQ):
    """
    A RabbitMQ that workers reach by amqps://.

    Args:
        host: Whom its certificate is for, and what the URL names.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        super().__init__()

    def _prepare(self) -> None:
        super()._prepare()
        certificates = Certificates(self._directory, self._host)
        port = free_port()
        self.url = f"amqps://guest:guest@{self._host}:{port}//"
        self.options = {"ssl": {"ca_certs": str(certificates.authority)}}
        with (self._directory / "rabbitmq.conf").open("a") as settings:
            settings.write(
                f"listeners.ssl.1 = 127.0.0.1:{port}\n"
                f"ssl_options.cacertfile = {certificates.authority}\n"
                f"ssl_options.certfile = {certificates.certificate}\n"
                f"ssl_options.keyfile = {certificates.key}\n"
                "ssl_options.verify = verify_none\n"
            )
