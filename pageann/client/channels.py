"""Channels to a service: their options, their credentials, and the methods that are called over them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from pageann.errors import InvalidArgument
from pageann.server.v1 import pageann_pb2 as pb

__all__ = ["ClientTls", "Methods", "Target", "method_calls"]

_SERVICE = pb.DESCRIPTOR.services_by_name["SearchService"].full_name
_METHODS: Mapping[str, tuple[Any, Any]] = {
    "Search": (pb.SearchRequest, pb.SearchResponse),
    "Get": (pb.GetRequest, pb.GetResponse),
    "Explain": (pb.ExplainRequest, pb.ExplainResponse),
    "GetIndex": (pb.GetIndexRequest, pb.GetIndexResponse),
    "ListIndexes": (pb.ListIndexesRequest, pb.ListIndexesResponse),
    "Reload": (pb.ReloadRequest, pb.ReloadResponse),
}

_ANSWER_BYTES_MAX = 256 << 20
_KEEPALIVE_MS = 30_000
_KEEPALIVE_TIMEOUT_MS = 10_000
_RECONNECT_FIRST_MS, _RECONNECT_MAX_MS = 100, 5000
"""gRPC refuses calls while it waits to connect again; retries would find it still waiting."""
_MOST_CHANNELS = 64


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Files (PEM) of a connection by TLS, read when the client is made."""

    root_file: str | Path | None = None
    """Authorities that the service's certificate must come from; None: those of the system."""
    certificate_file: str | Path | None = None
    """The client's own certificate chain, for services that ask for one."""
    key_file: str | Path | None = None
    """The private key of that certificate."""
    server_name: str | None = None
    """The name in the service's certificate, where it is not that of the address."""

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise InvalidArgument("tls: certificate_file and key_file go together; give both or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials in the files. Raises InvalidArgument, naming the file that cannot be read."""
        return grpc.ssl_channel_credentials(
            _content(self.root_file), _content(self.key_file), _content(self.certificate_file)
        )


def _content(file: str | Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"tls: {file} cannot be read: {error.strerror}; check the path") from None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a service is and how to reach it; ``credentials`` None: in the clear."""

    address: str
    credentials: grpc.ChannelCredentials | None
    server_name: str | None
    channels: int

    @classmethod
    def checked(cls, address: str, tls: ClientTls | None, channels: int) -> Target:
        """Raises InvalidArgument for what cannot be an address, a file or a number of channels."""
        if not isinstance(address, str) or not address.strip():
            raise InvalidArgument(f"address={address!r}: give HOST:PORT")
        if isinstance(channels, bool) or not isinstance(channels, int) or not 1 <= channels <= _MOST_CHANNELS:
            raise InvalidArgument(f"channels={channels!r}: give a number from 1 to {_MOST_CHANNELS}")
        credentials = None if tls is None else tls.credentials()
        return cls(address, credentials, None if tls is None else tls.server_name, channels)

    def open(self, kind: Any) -> list[Any]:
        """The channels, of the module ``kind``: ``grpc`` or ``grpc.aio``. Nothing connects before a call."""
        options = [self._options(number) for number in range(self.channels)]
        if self.credentials is None:
            return [kind.insecure_channel(self.address, each) for each in options]
        return [kind.secure_channel(self.address, self.credentials, each) for each in options]

    def _options(self, number: int) -> list[tuple[str, Any]]:
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
            ("grpc.initial_reconnect_backoff_ms", _RECONNECT_FIRST_MS),
            ("grpc.max_reconnect_backoff_ms", _RECONNECT_MAX_MS),
            ("grpc.primary_user_agent", "pageann-python"),
            ("pageann.channel", number),  # channels with equal options would share a connection
        ]
        if self.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        return options


class Methods:
    """The methods of a service over several channels, which take turns."""

    def __init__(self, channels: list[Any]) -> None:
        self.channels = channels
        self._calls = [method_calls(channel) for channel in channels]
        self._turn = itertools.cycle(range(len(channels)))

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._calls[next(self._turn)][name]


def method_calls(channel: Any) -> dict[str, Callable[..., Any]]:
    """What calls each method over ``channel``, by the method's name."""
    return {
        name: channel.unary_unary(
            f"/{_SERVICE}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        for name, (request, response) in _METHODS.items()
    }
