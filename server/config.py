"""The settings of a server, checked; :mod:`pageann.server.settings` reads them from where users put them."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pageann.errors import InvalidArgument
from pageann.server.addresses import is_loopback, split_address
from pageann.types import parse_bytes

__all__ = ["IndexConfig", "ServerConfig", "parse_index"]

MIB = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_IO = ("auto", "uring", "threads", "aio")
_MAY_BE_ZERO = frozenset({"queue", "rate_per_second", "rate_burst", "drain_seconds", "notice_seconds"})


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """One index to serve. Raises InvalidArgument for a name that cannot stand in a request."""

    name: str
    path: Path
    memory: str = ""
    """Its budget, as ``pageann.open`` takes it; empty: the server's ``memory``."""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise InvalidArgument(
                f"index name {self.name!r}: use up to 64 letters, digits, dots, dashes and underscores; "
                "give another with NAME=PATH"
            )
        if self.memory:
            parse_bytes(self.memory, option=f"memory of index {self.name}")


def parse_index(text: str) -> IndexConfig:
    """``PATH`` or ``NAME=PATH``; without a name it is that of the folder, less ``.pageann``."""
    name, equals, path = text.partition("=")
    if equals and _NAME.match(name):
        return IndexConfig(name, Path(path))
    folder = Path(text)
    return IndexConfig(folder.name.removesuffix(".pageann") or "index", folder)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything that an operator decides. Raises InvalidArgument, naming the option, where it cannot be.

    Sizes are bytes, times seconds. Limits on calls hold for each worker process.
    """

    indexes: tuple[IndexConfig, ...] = ()
    """What to serve."""
    listen: str = "127.0.0.1:50051"
    """Address of the service; port 0: any free one."""
    metrics_listen: str = "127.0.0.1:9464"
    """Address of the Prometheus metrics (HTTP); empty: none. Worker number i adds i to the port."""
    memory: str = ""
    """Budget of each index that has none of its own; empty: what it was built for."""
    swap_memory: str = "50%"
    """Budget that a new version is opened in while the old one still answers; a share is of its budget."""
    io: str = "auto"
    """How pages are read: auto, uring, threads or aio."""
    threads: int = 0
    """Threads that search each index; 0: the cores allowed."""
    workers: int = 1
    """Processes that share the port and the budget: they hold the arrays of each index once."""
    reuse_port: bool = False
    """Let another server listen on the same port, to take over from this one."""
    keys_file: str = ""
    """File of hashed API keys; see `pageann serve --hash-key`."""
    keys: tuple[str, ...] = ()
    """Lines as in that file, where a file is not to be had."""
    tls_certificate_file: str = ""
    """Certificate chain, PEM. It is read again when it changes."""
    tls_key_file: str = ""
    """Private key of the certificate, PEM."""
    tls_client_ca_file: str = ""
    """Authorities whose certificates clients must show (mutual TLS), PEM."""
    insecure: bool = False
    """Listen beyond this machine without TLS and keys."""
    reflection: bool = False
    """Describe the protocol to whoever asks (grpcurl without a proto file)."""
    message_bytes: int = 16 * MIB
    """Largest request."""
    most_k: int = 10_000
    """Largest k."""
    most_queries: int = 10_000
    """Most queries of a request, and most ids of a Get."""
    most_results: int = 1_000_000
    """Most results (queries times k) of a request."""
    most_dim: int = 65_536
    """Most elements of a query."""
    concurrency: int = 64
    """Calls at work at a time."""
    queue: int = 256
    """Calls that may wait for that; more are refused with RESOURCE_EXHAUSTED."""
    blocking_threads: int = 2
    """Threads for exact and range searches, Get and Explain."""
    streams: int = 128
    """Open SearchStream calls."""
    stream_requests: int = 64
    """Unanswered requests of one stream; it is not read on beyond."""
    rate_per_second: float = 0.0
    """Requests that each key may start in a second; 0: any number."""
    rate_burst: int = 0
    """Requests that may come at once after a pause; 0: those of one second."""
    unsent_bytes: int = 128 * MIB
    """Answers that wait for slow readers; beyond, large answers are refused."""
    send_seconds: float = 30.0
    """How long one large answer may wait for its reader."""
    connection_idle_seconds: float = 600.0
    """After so long without a call a connection is closed."""
    notice_seconds: float = 0.0
    """At SIGTERM: how long to report NOT_SERVING before new calls are refused."""
    drain_seconds: float = 30.0
    """At SIGTERM: how long calls may go on."""
    watch_seconds: float = 1.0
    """How often indexes, keys and logs are looked at for changes."""
    access_log: str = ""
    """File of one JSON line a call; - for stdout; empty: none."""
    tracing: bool = False
    """OpenTelemetry spans (needs opentelemetry-api and a configured SDK)."""

    def __post_init__(self) -> None:
        self._require_positive_numbers()
        self._require_indexes()
        host, _ = split_address(self.listen, "listen")
        if self.metrics_listen:
            split_address(self.metrics_listen, "metrics_listen")
        for option in ("memory", "swap_memory"):
            if value := getattr(self, option):
                parse_bytes(value, option=option)
        if self.io not in _IO:
            raise InvalidArgument(f"io={self.io!r}: choose one of {', '.join(_IO)}")
        self._require_tls_pair()
        if not is_loopback(host):
            self._require_security(host)

    def _require_positive_numbers(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            least_allowed = each.name in _MAY_BE_ZERO or each.name == "threads"
            if not (value >= 0 if least_allowed else value > 0) or value == float("inf"):
                least = "0 or more" if least_allowed else "more than 0"
                raise InvalidArgument(f"{each.name}={value!r}: give a number of {least}")

    def _require_indexes(self) -> None:
        names = [index.name for index in self.indexes]
        for name in names:
            if names.count(name) > 1:
                raise InvalidArgument(f"two indexes are called {name}; name them apart with NAME=PATH")

    def _require_tls_pair(self) -> None:
        if bool(self.tls_certificate_file) != bool(self.tls_key_file):
            raise InvalidArgument("tls_certificate_file and tls_key_file belong together; give both")
        if self.tls_client_ca_file and not self.tls_certificate_file:
            raise InvalidArgument("tls_client_ca_file needs tls_certificate_file and tls_key_file; give them")

    def _require_security(self, host: str) -> None:
        missing = []
        if not self.has_tls:
            missing.append("TLS (tls_certificate_file, tls_key_file)")
        if not (self.has_keys or self.tls_client_ca_file):
            missing.append("keys (keys_file) or client certificates (tls_client_ca_file)")
        if missing and not self.insecure:
            raise InvalidArgument(
                f"listen={self.listen!r}: {host} can be reached from other machines, which needs "
                f"{' and '.join(missing)}; or say insecure"
            )

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted."""
        return bool(self.tls_certificate_file)

    @property
    def has_keys(self) -> bool:
        """Whether calls need a key."""
        return bool(self.keys_file or self.keys)

    @property
    def trusts_strangers(self) -> bool:
        """Whether calls without a key may do what an admin may: nobody else can reach the server."""
        return not self.has_keys and is_loopback(split_address(self.listen, "listen")[0])

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, secrets included."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain["indexes"] = [
            {"name": index.name, "path": str(index.path), "memory": index.memory} for index in self.indexes
        ]
        plain["keys"] = list(self.keys)
        return plain
