"""Addresses to listen on: ``host:port``, with an IPv6 host in brackets."""

from __future__ import annotations

import ipaddress

from pageann.errors import InvalidArgument

__all__ = ["is_loopback", "split_address"]

_PORT_MAX = 65535


def split_address(address: str, option: str) -> tuple[str, int]:
    """(host, port) of ``address``; port 0 is any free one. InvalidArgument names ``option``."""
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    sound = bool(colon and bare) and (bare == host) == (":" not in host)
    if not (sound and port.isascii() and port.isdigit() and int(port) <= _PORT_MAX):
        raise InvalidArgument(
            f"{option}={address!r} is not an address; write it like 127.0.0.1:50051 or [::1]:50051"
        )
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
