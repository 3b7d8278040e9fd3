"""What both clients have in common: where to call, with which key, what to make of requests and answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.client.attempts import Attempts, RetryPolicy, require_timeout
from pageann.client.channels import ClientTls, Target
from pageann.client.facts import IndexInfo, index_info
from pageann.client.values import WHOLE_MAX, id_message, listed_ids, query_array, real_number, whole_number
from pageann.errors import IndexClosed, InvalidArgument, ServiceError
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.vectors import pack_vectors, unpack_vectors

__all__ = ["Fetch", "Session", "explain_request", "infos_of"]

FIRST_IDS = 32
PART_IDS_MAX = 1000
PART_BYTES_MAX = 2 << 20


class Session:
    """The settings of a client. Raises InvalidArgument for what they cannot be."""

    def __init__(
        self,
        address: str,
        index: str | None,
        api_key: str | None,
        tls: ClientTls | None,
        timeout: float | None,
        policy: RetryPolicy,
        channels: int,
    ) -> None:
        self.target = Target.checked(address, tls, channels)
        if index is not None and not isinstance(index, str):
            raise InvalidArgument(f"index={index!r}: give the name of an index, or None")
        self.index = index or ""
        self.metadata = () if api_key is None else (("authorization", f"Bearer {_checked_key(api_key)}"),)
        self.timeout = require_timeout(timeout)
        self.policy = policy
        self.closed = False

    @property
    def address(self) -> str:
        """Where the service is."""
        return self.target.address

    def begin(self, timeout: float | None) -> Attempts:
        """The attempts of a call; ``timeout`` None: that of the client. Raises IndexClosed."""
        self.require_open()
        return self.policy.begin(self.timeout if timeout is None else timeout)

    def require_open(self) -> None:
        """IndexClosed if the client was closed."""
        if self.closed:
            raise IndexClosed(f"{self.address}: this client was closed; make another")

    def __repr__(self) -> str:
        return f"{self.address}{f', index {self.index!r}' if self.index else ''}"


def _checked_key(api_key: Any) -> str:
    if not isinstance(api_key, str) or not api_key or not api_key.isascii() or not api_key.isprintable():
        raise InvalidArgument("api_key: give the key as printable ASCII text, without a line break")
    return api_key


class Fetch:
    """The stored vectors of ids, asked for in parts: each :meth:`requests` gives is answered by :meth:`add`.

    The first part tells how large a vector is, and thereby how many go into the others. There is always
    one, so that no ids have a dimension too.
    """

    def __init__(self, index: str, ids: Any) -> None:
        self._index = index
        self._ids = listed_ids(ids)
        self._asked = 0
        self._parts: list[NDArray[Any]] = []

    def requests(self) -> Iterator[pb.GetRequest]:
        """The requests, each made when the one before is answered. Raises InvalidArgument, UnknownId."""
        first = 0
        while first < len(self._ids) or not first:
            wanted = self._ids[first : first + self._rows_a_part()]
            self._asked = len(wanted)
            yield id_message(self._index, wanted)
            first += max(1, len(wanted))

    def _rows_a_part(self) -> int:
        if not self._parts:
            return FIRST_IDS
        row_bytes = max(1, int(self._parts[0].shape[1] * self._parts[0].itemsize))
        return max(1, min(PART_IDS_MAX, PART_BYTES_MAX // row_bytes))

    def add(self, response: pb.GetResponse) -> None:
        """Take the answer to the request given last. Raises ServiceError where it is none."""
        try:
            part = unpack_vectors(
                response.vectors, most_rows=self._asked, most_dim=WHOLE_MAX, field="vectors"
            )
        except ValueError as error:
            raise ServiceError(f"the service sent what are no vectors: {error}") from None
        if len(part) != self._asked:
            raise ServiceError(f"the service sent {len(part)} vectors; {self._asked} were asked for")
        self._parts.append(part)

    def vectors(self) -> NDArray[Any]:
        """All of them, in order, in memory of their own. Raises ServiceError."""
        try:
            whole = np.concatenate(self._parts)
        except ValueError as error:
            raise ServiceError(f"the service sent what are no vectors: {error}") from None
        return whole.astype(whole.dtype.newbyteorder("="), copy=False)


def explain_request(
    index: str, query: Any, k: Any, recall: Any, effort: Any, max_page_reads: Any, truth: bool
) -> pb.ExplainRequest:
    """The request for an explanation. Raises InvalidArgument."""
    if recall is not None and effort is not None:
        raise InvalidArgument("recall and effort exclude each other; give one of them")
    return pb.ExplainRequest(
        index=index,
        query=pack_vectors(query_array(query)),
        k=whole_number("k", k, least=1),
        recall=None if recall is None else real_number("recall", recall),
        effort=None if effort is None else whole_number("effort", effort, least=1),
        with_truth=bool(truth),
        max_page_reads=None
        if max_page_reads is None
        else whole_number("max_page_reads", max_page_reads, least=1),
    )


def infos_of(response: pb.ListIndexesResponse) -> list[IndexInfo]:
    """The indexes that a service holds."""
    return [index_info(message) for message in response.indexes]
