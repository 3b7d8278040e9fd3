"""Errors of the library as gRPC statuses and back.

A failed call carries a ``google.rpc.Status`` with ``ErrorInfo`` (reason: the error's code, domain
``pageann``; its attributes as metadata) and, where a later try is worth it, ``RetryInfo``. No message of
a status names a path: errors of files get a sentence of their own here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as Detail
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from pageann import errors

__all__ = ["DETAILS_KEY", "DOMAIN", "STATUSES", "CallStatus", "Mapped", "error_of", "status_of"]

DOMAIN: Final = "pageann"
DETAILS_KEY: Final = "grpc-status-details-bin"
MESSAGE_CHARACTERS_MAX = 500
"""Longest message of a status; gRPC gives all metadata of an answer 8 KiB."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What becomes of a class of errors."""

    code: grpc.StatusCode
    public: str = ""
    """What the caller reads in place of the error's own words, which may name a path; empty: those."""


_Code = grpc.StatusCode

STATUSES: Final[Mapping[type[errors.PageANNError], Mapped]] = {
    errors.InvalidArgument: Mapped(_Code.INVALID_ARGUMENT),
    errors.InvalidData: Mapped(_Code.INVALID_ARGUMENT),
    errors.UnknownId: Mapped(_Code.NOT_FOUND),
    errors.IndexNotFound: Mapped(_Code.NOT_FOUND, "no such index here; ListIndexes names those there are"),
    errors.IndexExists: Mapped(_Code.ALREADY_EXISTS, "there is an index already"),
    errors.IndexLocked: Mapped(_Code.ABORTED, "another builder holds the index; try again later"),
    errors.BudgetTooSmall: Mapped(_Code.FAILED_PRECONDITION),
    errors.FormatTooNew: Mapped(
        _Code.FAILED_PRECONDITION, "the index was written by a newer version; upgrade the service"
    ),
    errors.DamagedIndex: Mapped(
        _Code.DATA_LOSS, "the index is damaged; the operator restores a copy or builds it again"
    ),
    errors.StorageError: Mapped(_Code.INTERNAL, "the service cannot read its index; its log says why"),
    errors.IndexClosed: Mapped(_Code.UNAVAILABLE, "the index was closed; try again"),
    errors.DeadlineUnserved: Mapped(_Code.DEADLINE_EXCEEDED),
    errors.Overloaded: Mapped(_Code.RESOURCE_EXHAUSTED),
    errors.Unauthenticated: Mapped(_Code.UNAUTHENTICATED),
    errors.PermissionRefused: Mapped(_Code.PERMISSION_DENIED),
    errors.ServiceUnavailable: Mapped(_Code.UNAVAILABLE),
    errors.ServiceError: Mapped(_Code.INTERNAL),
    errors.MissingDependency: Mapped(
        _Code.UNIMPLEMENTED, "the service lacks a package that this call needs; its log says which"
    ),
    errors.BuildCancelled: Mapped(_Code.CANCELLED, "the build was cancelled"),
    errors.PageANNError: Mapped(_Code.INTERNAL, "the service failed; its log says why"),
}
"""One status for every class; a class that is not listed goes by its nearest base."""

_UNEXPECTED = Mapped(_Code.INTERNAL, "the service failed; its log says why")
_CLASSES: Final = {kind.code: kind for kind in STATUSES}
_OF_CODE: Final[Mapping[grpc.StatusCode, type[errors.PageANNError]]] = {
    _Code.INVALID_ARGUMENT: errors.InvalidArgument,
    _Code.OUT_OF_RANGE: errors.InvalidArgument,
    _Code.NOT_FOUND: errors.IndexNotFound,
    _Code.DEADLINE_EXCEEDED: errors.DeadlineUnserved,
    _Code.RESOURCE_EXHAUSTED: errors.Overloaded,
    _Code.UNAUTHENTICATED: errors.Unauthenticated,
    _Code.PERMISSION_DENIED: errors.PermissionRefused,
    _Code.UNAVAILABLE: errors.ServiceUnavailable,
    _Code.DATA_LOSS: errors.DamagedIndex,
}
"""For statuses without details of ours, such as those that gRPC itself or a proxy gives."""

_ABSOLUTE_PATH = re.compile(r"(?<![\w.)/])/(?:[^\s/'\":,;]+/)*[^\s'\":,;]+")
_TOO_LARGE = "message larger than max"


@dataclass(frozen=True, slots=True)
class CallStatus:
    """What a failed call ends with."""

    code: grpc.StatusCode
    message: str
    reason: str
    """The error's ``code``, such as ``invalid-argument``."""
    trailing_metadata: tuple[tuple[str, bytes], ...]

    @property
    def number(self) -> int:
        """The ``google.rpc.Code``, for :class:`Status` messages in a stream."""
        return _number(self.code)


def status_of(error: BaseException) -> CallStatus:
    """The status of a call that ended with ``error``; anything but a PageANNError tells nothing of itself."""
    mapped = _mapped(error)
    message = _one_line(mapped.public or _ABSOLUTE_PATH.sub("...", str(error)))
    reason = error.code if isinstance(error, errors.PageANNError) else errors.PageANNError.code
    details = status_pb2.Status(code=_number(mapped.code), message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=_attributes(error))
    details.details.add().Pack(info)
    if isinstance(error, errors.Overloaded) and error.retry_after_seconds > 0:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        details.details.add().Pack(retry)
    return CallStatus(mapped.code, message, reason, ((DETAILS_KEY, details.SerializeToString()),))


def _mapped(error: BaseException) -> Mapped:
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return _UNEXPECTED


def _number(code: grpc.StatusCode) -> int:
    return int(code_pb2.Code.Value(code.name))


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_CHARACTERS_MAX else line[: MESSAGE_CHARACTERS_MAX - 3] + "..."


def _attributes(error: BaseException) -> dict[str, str]:
    """What a client needs to raise the same error; of a file, only its name within the index."""
    if isinstance(error, errors.DamagedIndex):
        return {"file": PurePath(error.file).name, "page": str(error.page)}
    if isinstance(error, errors.BudgetTooSmall):
        return {"required_bytes": str(error.required_bytes)}
    return {}


def error_of(failed: grpc.RpcError, address: str = "the service") -> errors.PageANNError:
    """The library's error that a failed call stands for; ``address`` is named where nobody answered."""
    code, message = _said(failed)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in _details(failed):
        if not detail.Unpack(info):
            detail.Unpack(retry)
    retry_after_seconds = max(0.0, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)
    if info.domain == DOMAIN and info.reason in _CLASSES:
        return _rebuilt(_CLASSES[info.reason], message, info.metadata, retry_after_seconds)
    if code is _Code.RESOURCE_EXHAUSTED and _TOO_LARGE in message:
        return errors.InvalidArgument(f"{address}: {message}; ask for fewer queries or rows in one call")
    kind = _OF_CODE.get(code, errors.ServiceError)
    said = f"{address}: {code.name.lower().replace('_', ' ')}: {message}"
    return _rebuilt(kind, said, {}, retry_after_seconds)


def _said(failed: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    code = failed.code() if hasattr(failed, "code") else _Code.UNKNOWN
    details = failed.details() if hasattr(failed, "details") else str(failed)
    return code, _one_line(details or "no details were given")


def _details(failed: grpc.RpcError) -> Iterable[Detail]:
    """The details of a status; none where there are none, or where they cannot be read."""
    metadata: Any = failed.trailing_metadata() if hasattr(failed, "trailing_metadata") else None
    status = status_pb2.Status()
    for key, value in metadata or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            with contextlib.suppress(DecodeError):
                status.ParseFromString(value)
    return list(status.details)


def _rebuilt(
    kind: type[errors.PageANNError], message: str, attributes: Mapping[str, str], retry_after_seconds: float
) -> errors.PageANNError:
    if kind is errors.DamagedIndex:
        return errors.DamagedIndex(message, attributes.get("file", ""), _whole(attributes.get("page"), -1))
    if kind is errors.BudgetTooSmall:
        return errors.BudgetTooSmall(message, _whole(attributes.get("required_bytes"), 0))
    if kind is errors.IndexLocked:
        return errors.IndexLocked(message, 0)
    if kind is errors.Overloaded:
        return errors.Overloaded(message, retry_after_seconds)
    return kind(message)


def _whole(text: str | None, default: int) -> int:
    try:
        return int(text) if text is not None else default
    except ValueError:
        return default
