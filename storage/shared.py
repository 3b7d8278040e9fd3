"""Arrays that several processes hold once: memory files that one of them fills and all map.

A :class:`SharedArrays` listens on a Unix socket that only its user can reach. A process that wants an array
connects and says its key. The first one gets an empty memory file to fill, the others wait; the file is then
sealed, so that nobody can change it any more, and mapped by all. A connection lasts as long as its array:
once the last has ended, with the array or with its process, the file is gone. A process that fails or dies
while it fills leaves that to the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from pageann.errors import InvalidArgument, StorageError
from pageann.storage.arrays import Fill, Holding, own_array
from pageann.storage.files import storage_errors
from pageann.storage.io import fork

__all__ = ["SharedArrays", "join"]

_MESSAGE_BYTES = 8192
_HELLO, _FILL, _READY, _DONE, _REFUSED = b"H", b"F", b"R", b"D", b"X"
_BACKLOG = 128
_GREETING_SECONDS = 30.0
"""Without a word for so long, nobody serves the socket any more."""
_PAUSE_SECONDS = 0.05
"""Before another connection is accepted, where descriptors or threads have run out."""


class _File:
    """The memory file of one key."""

    def __init__(self) -> None:
        self.fd = -1
        self.users = 0
        """Connections that hold it, fill it or wait for it."""
        self.is_filling = False
        self.is_ready = False

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class SharedArrays:
    """Lets ``processes`` processes open an index in the memory of one: ``pageann.open(..., shared=address)``.

    Made by one process, which need not open anything; the others get its :attr:`address`. Linux only.
    Raises InvalidArgument, and StorageError where the system refuses.
    """

    def __init__(self, processes: int) -> None:
        if processes < 1:
            raise InvalidArgument(f"processes={processes}: give a number of at least 1")
        if not hasattr(os, "memfd_create"):
            raise InvalidArgument("this system has no memory files that processes could share")
        self.processes = processes
        self._changed = threading.Condition()
        self._files: dict[str, _File] = {}
        self._connections: set[socket.socket] = set()
        self._closed = False
        self._made_in = fork.generation()
        self._folder = ""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._folder = tempfile.mkdtemp(prefix="pageann-")  # that only this user can enter
            self.address = f"{self._folder}/arrays"
            self._listener.bind(self.address)
            self._listener.listen(_BACKLOG)
        except OSError as error:
            self.close()
            raise StorageError(
                f"cannot share memory over a socket in {self._folder or tempfile.gettempdir()!r}: {error}; "
                "choose a short folder that can be written with TMPDIR",
                error.errno or 0,
            ) from None
        fork.let_go_at_fork(self)
        threading.Thread(target=self._accept, name="pageann-shared", daemon=True).start()

    def stats(self) -> dict[str, int]:
        """How many arrays are held, and their bytes."""
        with self._changed:
            ready = [file for file in self._files.values() if file.is_ready]
            return {"arrays": len(ready), "bytes": sum(os.fstat(file.fd).st_size for file in ready)}

    def close(self) -> None:
        """Listen no more. Arrays that processes hold stay theirs. In a forked child: nothing."""
        if self._made_in != fork.generation():
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def abandon(self) -> None:
        """In a forked child: let go of what is its parent's."""
        self._closed = True
        self._listener.close()
        for connection in list(self._connections):
            connection.close()
        for file in list(self._files.values()):
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed, or no descriptor to be had just now
                time.sleep(_PAUSE_SECONDS)
                continue
            self._connections.add(connection)
            try:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except RuntimeError:  # no thread to be had: the other side is told by the end of the connection
                self._connections.discard(connection)
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        """One connection, to its end."""
        with connection, contextlib.suppress(OSError, ValueError, KeyError):
            try:
                connection.sendall(_HELLO + str(self.processes).encode() + b"\n")
                asked = json.loads(_line(connection))
                self._lend(connection, str(asked["key"]), int(asked["bytes"]))
            finally:
                self._connections.discard(connection)

    def _lend(self, connection: socket.socket, key: str, nbytes: int) -> None:
        """Let a connection have the array of ``key`` until it ends."""
        file = self._enter(key)
        try:
            try:
                self._hand_out(connection, file, nbytes)
            except OSError as error:
                connection.sendall(_REFUSED + os.strerror(error.errno or 0).encode())
                return
            connection.recv(1)  # nothing comes: the end of the connection is the end of its use
        finally:
            self._leave(key, file)

    def _enter(self, key: str) -> _File:
        with self._changed:
            file = self._files.setdefault(key, _File())
            file.users += 1
            return file

    def _leave(self, key: str, file: _File) -> None:
        with self._changed:
            file.users -= 1
            if file.users == 0:
                del self._files[key]
                file.close()

    def _hand_out(self, connection: socket.socket, file: _File, nbytes: int) -> None:
        """Send the file once it is ready; let this connection fill it if nobody does."""
        with self._changed:
            self._changed.wait_for(lambda: file.is_ready or not file.is_filling)
            fills = not file.is_ready
            if fills:
                file.close()
                file.fd = os.memfd_create("pageann", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                os.ftruncate(file.fd, nbytes)
                file.is_filling = True
        if not fills:
            socket.send_fds(connection, [_READY], [file.fd])
            return
        try:
            socket.send_fds(connection, [_FILL], [file.fd])
            if connection.recv(1) == _DONE:
                _seal(file.fd)
                file.is_ready = True
        finally:
            with self._changed:
                file.is_filling = False
                self._changed.notify_all()
        if file.is_ready:
            connection.sendall(_READY)


class _Mapped:
    """What the memory of a shared array belongs to: its end unmaps it and ends the connection."""

    def __init__(self, fd: int, nbytes: int, connection: socket.socket) -> None:
        self._connection: socket.socket | None = None
        self._memory = mmap.mmap(fd, nbytes, mmap.MAP_PRIVATE, mmap.PROT_READ)
        address = np.frombuffer(self._memory, np.uint8).ctypes.data
        # Kernels are compiled for arrays that may be written; none writes to these.
        self.__array_interface__ = {
            "data": (address, False), "shape": (nbytes,), "typestr": "|u1", "version": 3,
        }  # fmt: skip
        self._connection = connection

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _seal(fd: int) -> None:
    """Let nobody change a memory file any more; OSError while somebody has it mapped to write."""
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


def join(address: str) -> Holding:
    """Take part in what is shared at ``address``, which is given to ``pageann.open``.

    Raises StorageError where nobody listens there.
    """
    with _connect(address) as connection:
        processes = _greeted(connection, address)
        connection.settimeout(None)

    def take(key: str, nbytes: int, fill: Fill) -> npt.NDArray[np.uint8]:
        return _take(address, key, nbytes, fill) if nbytes else own_array(key, nbytes, fill)

    return Holding(processes, take)


def _connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_GREETING_SECONDS)
    try:
        connection.connect(address)
    except OSError as error:
        connection.close()
        raise StorageError(
            f"shared={address!r}: nobody shares memory there ({error.strerror or error}); "
            "give the address of a SharedArrays that is open",
            error.errno or 0,
        ) from None
    return connection


def _lost(address: str) -> StorageError:
    return StorageError(f"shared={address!r}: the process that shares memory there has ended; open again")


def _greeted(connection: socket.socket, address: str) -> int:
    """How many processes share, as the other side says first."""
    try:
        return int(_line(connection)[1:])
    except (OSError, ValueError):
        raise _lost(address) from None


def _line(connection: socket.socket) -> bytes:
    """What the other side says up to the end of a line; ValueError where it says no more before."""
    said = b""
    while not said.endswith(b"\n"):
        part = connection.recv(_MESSAGE_BYTES)
        if not part:
            raise ValueError("the connection has ended")
        said += part
    return said


def _take(address: str, key: str, nbytes: int, fill: Fill) -> npt.NDArray[np.uint8]:
    connection = _connect(address)
    try:
        _greeted(connection, address)
        connection.settimeout(None)  # somebody may be filling it
        fd, fills = _asked(connection, address, key, nbytes)
        try:
            if fills:
                with storage_errors("map", Path(address)):
                    memory = mmap.mmap(fd, nbytes)
                fill(np.frombuffer(memory, np.uint8))
                memory.close()  # what can be written to cannot be sealed
                _say_done(connection, address)
            with storage_errors("map", Path(address)):
                return np.asarray(_Mapped(fd, nbytes, connection))
        finally:
            os.close(fd)
    except BaseException:
        connection.close()
        raise


def _asked(connection: socket.socket, address: str, key: str, nbytes: int) -> tuple[int, bool]:
    """(memory file, whether it is to be filled)."""
    try:
        connection.sendall(json.dumps({"key": key, "bytes": nbytes}).encode() + b"\n")
        said, fds, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        raise _lost(address) from None
    if not fds:
        raise _refused(address, said)
    return fds[0], said == _FILL


def _say_done(connection: socket.socket, address: str) -> None:
    try:
        connection.sendall(_DONE)
        said = connection.recv(_MESSAGE_BYTES)
    except OSError:
        raise _lost(address) from None
    if said != _READY:
        raise _refused(address, said)


def _refused(address: str, said: bytes) -> StorageError:
    if not said.startswith(_REFUSED):
        return _lost(address)
    why = said[1:].decode(errors="replace")
    return StorageError(f"shared={address!r}: no memory file is to be had there: {why}")
