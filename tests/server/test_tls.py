"""Connections are encrypted, clients show certificates where they must, and a renewed one is taken up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from numpy.typing import NDArray

from pageann.errors import InvalidArgument
from pageann.server.tls import CertificateFiles
from tests.library.samples import Sample
from tests.server.certificates import Authority, Pair
from tests.server.serving import Caller, Load, code_of, served

Code = grpc.StatusCode


def status_over_tls(
    address: str, roots: bytes, sample: Sample, client: Pair | None = None
) -> grpc.StatusCode | None:
    """How a call over a fresh connection ends."""
    pair = (client.key, client.certificate) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(roots, *pair)
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(address, credentials, options) as channel:
        return code_of(lambda: Caller(channel).search(sample.queries[0], timeout=5.0))


def test_tls_and_a_certificate_that_is_rotated(sample: Sample, tmp_path: Path) -> None:
    old, new = Authority(), Authority()
    certificate, key = old.pair("old").write(tmp_path, "server")
    with served(sample.path, tls_certificate_file=certificate, tls_key_file=key) as server:
        credentials = grpc.ssl_channel_credentials(old.pem)
        with grpc.secure_channel(server.address, credentials) as channel:
            kept = Caller(channel)
            assert code_of(lambda: kept.search(sample.queries[0])) is Code.OK
            assert status_over_tls(server.address, new.pem, sample) is Code.UNAVAILABLE
            new.pair("new").write(tmp_path, "server")
            assert status_over_tls(server.address, new.pem, sample) is Code.OK
            assert status_over_tls(server.address, old.pem, sample) is Code.UNAVAILABLE
            assert code_of(lambda: kept.search(sample.queries[0])) is Code.OK
        with grpc.insecure_channel(server.address) as channel:
            assert code_of(lambda: Caller(channel).search(sample.queries[0], timeout=5.0)) is Code.UNAVAILABLE


class RenewedLoad(Load):
    """Load over TLS, each call over a fresh connection in turn with a kept one."""

    def __init__(self, address: str, roots: bytes, queries: NDArray[Any]) -> None:
        self._credentials = grpc.ssl_channel_credentials(roots)
        super().__init__(address, queries, threads=3)

    def connect(self) -> contextlib.AbstractContextManager[Caller]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.secure_channel(self._address, self._credentials, options)
        return channel_caller(channel)

    def attempt(self, caller: Caller, query: NDArray[Any]) -> None:
        caller.search(query, k=5)
        with self.connect() as fresh:
            fresh.search(query, k=5)


@contextlib.contextmanager
def channel_caller(channel: grpc.Channel) -> Iterator[Caller]:
    """A caller over ``channel``, which is closed afterwards."""
    with channel:
        yield Caller(channel)


def test_no_call_fails_while_certificates_are_renewed(sample: Sample, tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.pair("server").write(tmp_path, "server")
    with (
        served(sample.path, tls_certificate_file=certificate, tls_key_file=key) as server,
        RenewedLoad(server.address, authority.pem, sample.queries) as load,
    ):
        for _ in range(5):
            authority.pair("server").write(tmp_path, "server")
            load.wait_for(30)
        load.end()
        assert load.failures == []
        assert load.answers >= 150


def test_clients_show_a_certificate(sample: Sample, tmp_path: Path) -> None:
    ours, clients, strangers = Authority(), Authority(), Authority()
    certificate, key = ours.pair("server").write(tmp_path, "server")
    (tmp_path / "clients.pem").write_bytes(clients.pem)
    files = {
        "tls_certificate_file": certificate,
        "tls_key_file": key,
        "tls_client_ca_file": str(tmp_path / "clients.pem"),
    }
    with served(sample.path, **files) as server:
        assert status_over_tls(server.address, ours.pem, sample, clients.pair("alice")) is Code.OK
        for client in (None, strangers.pair("mallory")):
            assert status_over_tls(server.address, ours.pem, sample, client) is Code.UNAVAILABLE


def test_a_half_renewed_pair_is_not_taken_up(tmp_path: Path) -> None:
    authority, told = Authority(), list[str]()
    certificate, key = authority.pair("old").write(tmp_path, "server")
    files = CertificateFiles(Path(certificate), Path(key), None, told.append)
    before = files.configuration
    assert files.changed() is None
    fresh = authority.pair("new")
    Path(certificate).write_bytes(fresh.certificate)
    assert files.changed() is None
    assert files.configuration is before
    assert "stays" in told[0]
    Path(key).write_bytes(fresh.key)
    assert files.changed() is files.configuration is not before
    assert len(told) == 1
    Path(key).unlink()
    assert files.changed() is None


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.pair("a").write(tmp_path, "a")
    _, other = authority.pair("b").write(tmp_path, "b")
    (tmp_path / "empty").touch()
    with pytest.raises(InvalidArgument, match="not a certificate and its"):
        CertificateFiles(Path(certificate), Path(other), None, print)
    with pytest.raises(InvalidArgument, match="cannot be read"):
        CertificateFiles(tmp_path / "nowhere", Path(key), None, print)
    with pytest.raises(InvalidArgument, match="holds no certificates"):
        CertificateFiles(Path(certificate), Path(key), tmp_path / "empty", print)
