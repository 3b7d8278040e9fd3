"""Which driver to use for the files of a place: tried out, not guessed."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pageann.errors import InvalidArgument, StorageError
from pageann.storage.io.files import AlignedBuffer, OpenedFile, open_for_reading
from pageann.storage.io.libc import error_name, system_call
from pageann.storage.io.ring import Ring
from pageann.storage.io.ring_state import CQ_ENTRIES, CQ_TAIL, RING_FD, SQ_ENTRIES, SQ_TAIL

__all__ = ["DRIVERS", "ENVIRONMENT_VARIABLE", "Choice", "probe"]

DRIVERS = ("uring", "threads", "aio")
"""Names of the drivers, the fastest first."""

ENVIRONMENT_VARIABLE = "PAGEANN_IO"
"""Names a driver; takes the place of ``auto``, not of an explicit wish."""

_SYSTEM_CALL_ENTER = 426
_ENTER_GETEVENTS = 1
_OPERATION_READ = 22
_TRIAL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Choice:
    """The driver to use, and why."""

    driver: str
    """One of :data:`DRIVERS`."""
    reason: str
    """One line for people: ``io_uring works here``, ``io_uring_setup: EPERM; threads instead``."""
    direct: bool
    """Whether files there are read past the page cache (O_DIRECT)."""


def probe(
    path: str | os.PathLike[str], wanted: str = "auto", *, open_ring: Callable[[int], Ring] = Ring
) -> Choice:
    """Choose the driver for the file, or the files of the directory, ``path``.

    ``wanted`` is ``auto`` or one of :data:`DRIVERS`. io_uring counts as working once a ring was set
    up and a read through it brought the right number of bytes. Raises InvalidArgument for an unknown
    name and for a wish that cannot be fulfilled, StorageError if nothing can be read at ``path``.
    """
    wish, origin = _wish(wanted)
    with _opened_sample(Path(path)) as opened:
        if wish in ("threads", "aio"):
            return Choice(wish, f"asked for ({origin})", opened.direct)
        refusal = _try_ring(opened, open_ring)
        if wish == "uring" and refusal:
            raise InvalidArgument(f"{origin} is not possible: {refusal}; use auto, threads or aio")
        if refusal:
            return Choice("threads", f"{refusal}; threads instead", opened.direct)
        reason = "io_uring works here" if wish == "auto" else f"asked for ({origin}); io_uring works here"
        return Choice("uring", reason, opened.direct)


def _wish(wanted: str) -> tuple[str, str]:
    """What is wanted, and who says so."""
    wish, origin = wanted, f"io={wanted}"
    if wanted == "auto" and (value := os.environ.get(ENVIRONMENT_VARIABLE)):
        wish, origin = value, f"{ENVIRONMENT_VARIABLE}={value}"
    if wish != "auto" and wish not in DRIVERS:
        raise InvalidArgument(f"{origin}: unknown driver; choose auto, {', '.join(DRIVERS)}")
    return wish, origin


@contextmanager
def _opened_sample(path: Path) -> Iterator[OpenedFile]:
    """A file of that place: itself, one that is there, or a temporary one."""
    try:
        sample = _sample_file(path) if path.is_dir() else path
    except OSError as error:
        raise StorageError(
            f"cannot look at {path}: {error.strerror}; check the path and the file system", error.errno or 0
        ) from error
    if sample is not None:
        with open_for_reading(sample) as opened:
            yield opened
        return
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".pageann-probe-") as temporary:
            temporary.write(bytes(_TRIAL_BYTES))
            temporary.flush()
            with open_for_reading(temporary.name) as opened:
                yield opened
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{path} holds no file to try reads on, and none can be written there: {error.strerror}; "
            "give the path of an index",
            error.errno or 0,
        ) from error


def _sample_file(directory: Path) -> Path | None:
    """The first file, by name, that has bytes in it; None if there is none."""
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and path.stat().st_size > 0:
                return path
    return None


def _try_ring(opened: OpenedFile, open_ring: Callable[[int], Ring]) -> str:
    """Why io_uring does not work for this file; empty if it does."""
    try:
        with open_ring(1) as ring, AlignedBuffer(_TRIAL_BYTES) as buffer:
            result = _read_start(ring, opened.fd, buffer)
    except StorageError as error:
        return str(error).partition(";")[0]
    if result < 0:
        return f"io_uring read: {error_name(-result)}"
    if result != min(_TRIAL_BYTES, opened.size_bytes):
        return f"io_uring read: {result} bytes of {min(_TRIAL_BYTES, opened.size_bytes)}"
    return ""


def _read_start(ring: Ring, fd: int, buffer: AlignedBuffer) -> int:
    """Read the start of a file through a fresh ring; bytes read, or minus the error number.

    Plain Python, so that asking does not load or compile the kernels.
    """
    state = ring.state.tolist()
    entry = (ctypes.c_uint64 * 5).from_address(state[SQ_ENTRIES])
    entry[:] = [_OPERATION_READ | fd << 32, 0, buffer.address, buffer.nbytes, 0]
    ctypes.c_uint32.from_address(state[SQ_TAIL]).value = 1
    completions = ctypes.c_uint32.from_address(state[CQ_TAIL])
    submitted = 0
    while completions.value == 0:  # a signal may end the wait
        answer = system_call(_SYSTEM_CALL_ENTER, state[RING_FD], 1 - submitted, 1, _ENTER_GETEVENTS)
        if answer < 0 and answer != -errno.EINTR:
            return answer
        submitted += max(0, answer)
    return ctypes.c_int32.from_address(state[CQ_ENTRIES] + 8).value
