"""Every error of the library has one gRPC status, arrives as itself, and tells nothing of the server.

Guarded: a new error that becomes UNKNOWN; a path, a stack or a key in what a caller reads; details that
a client cannot take apart.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from pageann import errors
from pageann.wire.statuses import (
    DETAILS_KEY,
    MESSAGE_CHARACTERS_MAX,
    STATUSES,
    CallStatus,
    error_of,
    status_of,
)

CLASSES = [getattr(errors, name) for name in errors.__all__]
PATH = "/srv/secret place/photos.pageann/seg-000001/pages.bin"


def an_error(kind: type[errors.PageANNError], message: str) -> errors.PageANNError:
    """An error of ``kind`` with all of its attributes."""
    more: dict[type, tuple[Any, ...]] = {
        errors.BudgetTooSmall: (4096,),
        errors.IndexLocked: (17,),
        errors.DamagedIndex: (PATH, 3),
        errors.Overloaded: (1.5,),
    }
    return kind(message, *more.get(kind, ()))


class Failed(grpc.RpcError):
    """A call that ended with a status, as a client sees it."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: Any = ()) -> None:
        self._said = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._said[0]

    def details(self) -> str:
        return self._said[1]

    def trailing_metadata(self) -> Any:
        return self._said[2]


def arrived(status: CallStatus) -> errors.PageANNError:
    return error_of(Failed(status.code, status.message, status.trailing_metadata))


def test_every_class_is_listed() -> None:
    assert set(STATUSES) == set(CLASSES)
    assert len({kind.code for kind in CLASSES}) == len(CLASSES)
    assert all(mapped.code is not grpc.StatusCode.OK for mapped in STATUSES.values())


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_it_arrives_as_itself(kind: type[errors.PageANNError]) -> None:
    error = an_error(kind, "k=-1: give a number from 1 to 100")
    status = status_of(error)
    back = arrived(status)
    assert type(back) is kind
    assert str(back) == status.message
    if not STATUSES[kind].public:
        assert str(back) == str(error)
    for name in ("required_bytes", "page", "retry_after_seconds"):
        assert getattr(back, name, None) == getattr(error, name, None)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_no_path_leaves(kind: type[errors.PageANNError]) -> None:
    for message in (f"{PATH}: page 3 is damaged", f"cannot open {PATH}", f"'{PATH}'\nTraceback: {PATH}"):
        status = status_of(an_error(kind, message))
        for text in (status.message, str(status.trailing_metadata)):
            assert "secret" not in text
            assert "srv" not in text
            assert "\n" not in text


def test_what_nobody_expected_tells_nothing() -> None:
    status = status_of(RuntimeError(f"bug in {PATH} with key 1234"))
    assert status.code is grpc.StatusCode.INTERNAL
    assert "1234" not in str(status)
    assert "srv" not in str(status)
    assert type(arrived(status)) is errors.PageANNError


def test_details_are_those_of_google_rpc() -> None:
    status = status_of(errors.Overloaded("the queue is full", 0.25))
    [(key, value)] = status.trailing_metadata
    assert key == DETAILS_KEY == "grpc-status-details-bin"
    message = status_pb2.Status.FromString(value)
    assert message.code == code_pb2.RESOURCE_EXHAUSTED == status.number
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert message.details[0].Unpack(info)
    assert message.details[1].Unpack(retry)
    assert (info.reason, info.domain) == ("overloaded", "pageann")
    assert retry.retry_delay.ToMilliseconds() == 250


def test_a_subclass_goes_by_its_base() -> None:
    class Special(errors.UnknownId):
        code = "special"

    assert status_of(Special("id 7")).code is grpc.StatusCode.NOT_FOUND


def test_messages_are_cut() -> None:
    status = status_of(errors.UnknownId("no id " + "x" * 10**6))
    assert len(status.message) == MESSAGE_CHARACTERS_MAX
    assert status.message.endswith("...")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.ServiceUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineUnserved),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.Overloaded),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionRefused),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidArgument),
        (grpc.StatusCode.UNIMPLEMENTED, errors.ServiceError),
        (grpc.StatusCode.UNKNOWN, errors.ServiceError),
    ],
)
def test_statuses_of_others_become_the_nearest_error(
    code: grpc.StatusCode, kind: type[errors.PageANNError]
) -> None:
    error = error_of(Failed(code, "said by a proxy", None), "host:1")
    assert type(error) is kind
    assert str(error).startswith("host:1: ")
    assert "said by a proxy" in str(error)


def test_a_message_too_large_is_the_callers_mistake() -> None:
    said = "Received message larger than max (5000000 vs. 4194304)"
    error = error_of(Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, said))
    assert type(error) is errors.InvalidArgument
    assert "fewer queries" in str(error)


@pytest.mark.parametrize("value", [b"\xff\xff\xff", b"", b"\x08\x03\x1a\x05\x0a\x01x\x12\xff"])
def test_details_that_cannot_be_read_are_passed_over(value: bytes) -> None:
    error = error_of(Failed(grpc.StatusCode.DATA_LOSS, "bad", ((DETAILS_KEY, value),)))
    assert type(error) is errors.DamagedIndex
