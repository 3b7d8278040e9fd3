"""The exception tree of PageANN.

```
PageANNError
├── InvalidArgument   (ValueError)         an option, a shape or a value that cannot be served
├── InvalidData       (ValueError)         input vectors or ids that cannot be indexed
├── UnknownId         (KeyError)           an id that the index does not hold
├── BudgetTooSmall    (ValueError)         a memory budget below the least that works
├── IndexNotFound     (FileNotFoundError)  no index at that path
├── IndexExists       (FileExistsError)    something at that path must not be replaced
├── IndexLocked       (OSError)            another builder holds the index
├── FormatTooNew      (OSError)            written by a newer version of PageANN
├── DamagedIndex      (OSError)            a checksum, a length or a page number is wrong
├── StorageError      (OSError)            the operating system refused: disk full, I/O error, permission
├── IndexClosed       (ValueError)         the index was closed
├── DeadlineUnserved  (TimeoutError)       a call ended before any answer existed
├── MissingDependency (ImportError)        an optional package is not installed
├── Overloaded        (OSError)            the service has no room for the call now
├── Unauthenticated   (PermissionError)    the service knows no such key
├── PermissionRefused (PermissionError)    the key does not allow that
├── ServiceUnavailable (ConnectionError)   no service answers there, or it is about to stop
├── ServiceError      (OSError)            the service failed, or gave an answer that makes no sense
└── BuildCancelled                         the progress callback asked to stop
```

Every class has a stable ``code``: programs compare that, people read the message.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BudgetTooSmall",
    "BuildCancelled",
    "DamagedIndex",
    "DeadlineUnserved",
    "FormatTooNew",
    "IndexClosed",
    "IndexExists",
    "IndexLocked",
    "IndexNotFound",
    "InvalidArgument",
    "InvalidData",
    "MissingDependency",
    "Overloaded",
    "PageANNError",
    "PermissionRefused",
    "ServiceError",
    "ServiceUnavailable",
    "StorageError",
    "Unauthenticated",
    "UnknownId",
]


class PageANNError(Exception):
    """Anything that PageANN raises on purpose."""

    code: ClassVar[str] = "error"


class InvalidArgument(PageANNError, ValueError):
    """An option, a shape or a value that cannot be served."""

    code = "invalid-argument"


class InvalidData(PageANNError, ValueError):
    """Input vectors or ids that cannot be indexed; the message names the file and the row."""

    code = "invalid-data"


class UnknownId(PageANNError, KeyError):
    """An id that the index does not hold."""

    code = "unknown-id"

    def __str__(self) -> str:  # KeyError would print the message's repr
        return Exception.__str__(self)


class BudgetTooSmall(PageANNError, ValueError):
    """A memory budget below the least that works, which is ``required_bytes``."""

    code = "budget-too-small"

    def __init__(self, message: str, required_bytes: int) -> None:
        super().__init__(message)
        self.required_bytes = required_bytes


class IndexNotFound(PageANNError, FileNotFoundError):
    """No index at that path."""

    code = "index-not-found"


class IndexExists(PageANNError, FileExistsError):
    """Something at that path must not be replaced."""

    code = "index-exists"


class IndexLocked(PageANNError, OSError):
    """Another builder holds the index; ``pid`` is its process, 0 where unknown."""

    code = "index-locked"

    def __init__(self, message: str, pid: int) -> None:
        super().__init__(message)
        self.pid = pid


class FormatTooNew(PageANNError, OSError):
    """Written by a newer version of PageANN, or with a flag that this one does not know."""

    code = "format-too-new"


class DamagedIndex(PageANNError, OSError):
    """A checksum, a length or a page number is wrong in ``file`` (``page``: -1 where none)."""

    code = "damaged-index"

    def __init__(self, message: str, file: str, page: int = -1) -> None:
        super().__init__(message)
        self.file = file
        self.page = page


class StorageError(PageANNError, OSError):
    """The operating system refused a file operation: disk full, I/O error, permission."""

    code = "storage-error"

    def __init__(self, message: str, error_number: int = 0) -> None:
        super().__init__(message)
        self.errno = error_number


class IndexClosed(PageANNError, ValueError):
    """The index was closed before, or during, the call."""

    code = "index-closed"


class DeadlineUnserved(PageANNError, TimeoutError):
    """A call ended before any answer existed."""

    code = "deadline-unserved"


class MissingDependency(PageANNError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    code = "missing-dependency"


class Overloaded(PageANNError, OSError):
    """The service has no room for the call; worth another try after ``retry_after_seconds`` (0: unknown)."""

    code = "overloaded"

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unauthenticated(PageANNError, PermissionError):
    """The service wants a key, and was given none that it knows."""

    code = "unauthenticated"


class PermissionRefused(PageANNError, PermissionError):
    """The key is known, and does not allow the call."""

    code = "permission-refused"


class ServiceUnavailable(PageANNError, ConnectionError):
    """No service answers there, or it is starting, stopping or changing its index; try again."""

    code = "service-unavailable"


class ServiceError(PageANNError, OSError):
    """The service failed for a reason of its own, or gave an answer that makes no sense."""

    code = "service-error"


class BuildCancelled(PageANNError):
    """The progress callback asked the build to stop; nothing was published."""

    code = "build-cancelled"
