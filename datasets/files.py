"""The checks and messages that all vector files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pageann.errors import InvalidArgument, InvalidData, StorageError

__all__ = ["file_bytes", "open_binary", "require_file_bytes", "storage_error"]


def storage_error(path: Path, error: OSError) -> StorageError:
    """What the operating system said about ``path``, as one line."""
    reason = (
        os.strerror(error.errno) if error.errno else str(error)
    )  # libraries wrap it in words of their own
    return StorageError(f"{path}: {reason}", error.errno or 0)


def file_bytes(path: Path) -> int:
    """Size of an existing, non-empty, regular file.

    Raises InvalidArgument where there is no such file, InvalidData where it is empty, StorageError
    where it cannot be looked at.
    """
    try:
        size = os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with a zero byte
        raise InvalidArgument(f"{path}: no such file") from None
    except OSError as error:
        raise storage_error(path, error) from error
    if not path.is_file():
        raise InvalidArgument(f"{path}: not a file; name a file of vectors")
    if size == 0:
        raise InvalidData(f"{path}: the file is empty (0 bytes); write it again")
    return size


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open for reading; operating system errors inside the block become StorageError."""
    try:
        with open(path, "rb") as file:
            yield file
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error


def require_file_bytes(path: Path, found_bytes: int, expected_bytes: int, says: str) -> None:
    """Raise InvalidData where the file is not as long as its header says (``says``, in words)."""
    if found_bytes == expected_bytes:
        return
    if found_bytes < expected_bytes:
        remedy = "truncated; copy or download it again"
    else:
        remedy = "too long; the header or the file's suffix is wrong"
    raise InvalidData(
        f"{path}: file says {says} = {expected_bytes:,} bytes but has {found_bytes:,}: {remedy}"
    )
