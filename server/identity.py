"""Who calls, and under which request id: read from the metadata of a call."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable

from pageann.errors import PermissionRefused, Unauthenticated
from pageann.server.keys import Caller, KeyRing

__all__ = ["Doorman", "Metadata"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}\Z")
_BEARER = "bearer "
_STRANGER, _TRUSTED = Caller("", False), Caller("", True)

Metadata = Iterable[tuple[str, str | bytes]]


class Doorman:
    """Knows callers by ``authorization: Bearer KEY`` or ``x-api-key: KEY``.

    Without ``keys`` everybody may call, and ``trusts_strangers`` says whether as an admin.
    """

    def __init__(self, keys: KeyRing | None, *, trusts_strangers: bool) -> None:
        self._keys = keys
        self._stranger = _TRUSTED if trusts_strangers else _STRANGER
        self._prefix = os.urandom(4).hex()
        self._numbers = itertools.count(1)

    def request_id(self, metadata: Metadata) -> str:
        """The ``x-request-id`` of the call where it has a decent one, else a new one."""
        for name, value in metadata:
            if name == "x-request-id" and isinstance(value, str) and _REQUEST_ID.match(value):
                return value
        return f"{self._prefix}-{next(self._numbers):x}"

    def admit(self, metadata: Metadata, *, as_admin: bool) -> Caller:
        """Who calls. Raises Unauthenticated, or PermissionRefused where it takes an admin's key."""
        caller = self._stranger if self._keys is None else self._known(self._keys, metadata)
        if as_admin and not caller.is_admin:
            raise PermissionRefused("this call needs a key with the role admin")
        return caller

    @staticmethod
    def _known(keys: KeyRing, metadata: Metadata) -> Caller:
        key: str | bytes | None = None
        for name, value in metadata:
            if name == "x-api-key":
                key = value
            elif name == "authorization" and isinstance(value, str) and value[:7].lower() == _BEARER:
                key = value[7:]
        if key is None:
            raise Unauthenticated("this server needs a key; send it as `authorization: Bearer KEY`")
        caller = keys.caller_of(key)
        if caller is None:
            raise Unauthenticated("the key is not known here; it may have been revoked")
        return caller
