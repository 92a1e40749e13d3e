"""A certificate authority of the tests, and the certificate of a broker on this machine."""

from __future__ import annotations

from pathlib import Path

import trustme


class Certificates:
    """
    PEM files in a directory.

    Args:
        directory: Where they are written.
        host: Whom the certificate is for.

    Attributes:
        authority: The certificate of the authority, which clients are told to trust.
        certificate: That of the broker.
        key: The broker's key.
    """

    def __init__(self, directory: Path, host: str = "127.0.0.1") -> None:
        self.authority = directory / "authority.pem"
        self.certificate = directory / "certificate.pem"
        self.key = directory / "key.pem"
        authority = trustme.CA()
        issued = authority.issue_cert(host)
        authority.cert_pem.write_to_path(self.authority)
        issued.private_key_pem.write_to_path(self.key)
        for blob in issued.cert_chain_pems:
            blob.write_to_path(self.certificate, append=True)
