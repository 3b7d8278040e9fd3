"""Certificates that are read again when their files change: connections made from then on use them."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, cast

import grpc

from pageann.errors import InvalidArgument
from pageann.server.config import ServerConfig

__all__ = ["CertificateFiles", "server_credentials"]

Complain = Callable[[str], None]


class CertificateFiles:
    """The certificate, its key, and the authorities of clients (None: clients show no certificate).

    Raises InvalidArgument where they cannot be read or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None, complain: Complain) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._complain = complain
        self._lock = threading.Lock()
        self._seen = self._look()
        self.configuration = self._read()

    @property
    def asks_clients(self) -> bool:
        """Whether clients must show a certificate."""
        return self._client_ca is not None

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The configuration if the files have changed since the last look, else None.

        Called at each handshake, on threads of gRPC. A pair that does not fit together, as between
        the renewal of one file and the other, is not taken over: the one in use stays.
        """
        with self._lock:
            try:
                seen = self._look()
                if seen == self._seen:
                    return None
                self._seen = seen
                self.configuration = self._read()
            except InvalidArgument as error:
                self._complain(f"{error}; the certificate in use stays")
                return None
            return self.configuration

    def _files(self) -> list[Path]:
        return [self._certificate, self._key, *([self._client_ca] if self._client_ca else [])]

    def _look(self) -> list[tuple[int, int, int]]:
        try:
            found = [os.stat(path) for path in self._files()]
        except OSError as error:
            raise InvalidArgument(f"{error.filename}: cannot be read: {error.strerror}") from None
        return [(each.st_mtime_ns, each.st_size, each.st_ino) for each in found]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        self._require_pair()
        try:
            key, chain = self._key.read_bytes(), self._certificate.read_bytes()
            authorities = self._client_ca.read_bytes() if self._client_ca else None
        except OSError as error:
            raise InvalidArgument(f"{error.filename}: cannot be read: {error.strerror}") from None
        return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)

    def _require_pair(self) -> None:
        """gRPC would take any bytes, and refuse every client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._certificate, self._key, password=_refuse_password)
        except (ssl.SSLError, OSError, ValueError):
            raise InvalidArgument(
                f"{self._certificate} and {self._key} are not a certificate and its unencrypted key, in PEM"
            ) from None
        if self._client_ca is not None:
            try:
                context.load_verify_locations(self._client_ca)
            except (ssl.SSLError, OSError):
                raise InvalidArgument(f"{self._client_ca}: holds no certificates in PEM") from None


def _refuse_password() -> NoReturn:
    raise ValueError("the key is encrypted")


def server_credentials(config: ServerConfig, complain: Complain) -> grpc.ServerCredentials | None:
    """The credentials of a server; None without TLS. Raises InvalidArgument."""
    if not config.has_tls:
        return None
    client_ca = Path(config.tls_client_ca_file) if config.tls_client_ca_file else None
    files = CertificateFiles(
        Path(config.tls_certificate_file), Path(config.tls_key_file), client_ca, complain
    )
    # gRPC takes None for "as before"; its annotations leave that out.
    changed = cast("Callable[[], grpc.ServerCertificateConfiguration]", files.changed)
    return grpc.dynamic_ssl_server_credentials(
        files.configuration, changed, require_client_authentication=files.asks_clients
    )
