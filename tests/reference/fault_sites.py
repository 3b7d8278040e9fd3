"""Every place where the package asks the system to open, measure or read something, and faults at each.

A *site* is a line of the package together with what it calls there. :class:`Sites` stands between the package
and the system: it notes each site that is passed, and makes the calls of one of them fail, end early or take
long. Calls that other code makes, the standard library for others too, go through untouched. The ring of
compiled search loops is out of its reach; the fault tables of the drivers are for that.
"""

from __future__ import annotations

import enum
import errno
import io
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pageann
from pageann.storage.io import files, probe, ring

__all__ = ["Mishap", "Site", "SiteFault", "Sites", "mishaps_of"]

_ROOT = Path(pageann.__file__).parents[1]
_OWN = tuple(str(_ROOT / name) + os.sep for name in ("pageann", "index", "storage", "datasets"))
_NOT_OWN = str(_ROOT / "pageann" / "jit.py")
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_DELAY_SECONDS = 0.02
_RUBBISH = 0xA5

_READS = ("preadv", "readv", "read")
_OPENS = ("open", "io.open")


@dataclass(frozen=True, order=True)
class Site:
    """Where, and what is called."""

    file: str
    line: int
    function: str
    call: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: {self.call}"


class Mishap(enum.Enum):
    """What befalls a call."""

    EIO = errno.EIO
    EACCES = errno.EACCES
    EMFILE = errno.EMFILE
    ENOMEM = errno.ENOMEM
    HALF = "half of the bytes"
    NOTHING = "no byte"
    DELAY = "late"


def mishaps_of(site: Site) -> list[Mishap]:
    """What may befall the calls of a site."""
    found = [Mishap.EIO, Mishap.DELAY]
    if site.call in _READS:
        found += [Mishap.HALF, Mishap.NOTHING]
    if site.call in _OPENS:
        found += [Mishap.EACCES, Mishap.EMFILE]
    if site.call in ("mmap", "map_descriptor", "io_uring_setup"):
        found.append(Mishap.ENOMEM)
    return found


@dataclass(frozen=True)
class SiteFault:
    """One mishap at one site."""

    site: Site
    mishap: Mishap
    skip: int = 0
    """Calls that pass unharmed first."""
    times: int = -1
    """Calls that it befalls after that; -1: all."""


class _File:
    """A file object whose reads go through the sites."""

    def __init__(self, inner: Any, sites: Sites) -> None:
        self._inner = inner
        self._sites = sites

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *reason: object) -> None:
        self._inner.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._inner)

    def read(self, *size: int) -> Any:
        site = self._sites.site_of("read")
        mishap = self._sites.next_mishap(site)
        self._sites.fail_if(mishap)
        data = self._inner.read(*size)
        if mishap is Mishap.HALF:
            return data[: len(data) // 2]
        return data[:0] if mishap is Mishap.NOTHING else data


class Sites:
    """The sites that were passed, and the fault that is set; use :meth:`watched`."""

    def __init__(self) -> None:
        self.passed: dict[Site, int] = {}
        """How many calls each site has made."""
        self.fault: SiteFault | None = None
        self.struck = 0
        """How many calls the fault has befallen."""
        self._matched = 0
        self._lock = threading.Lock()

    def set(self, fault: SiteFault | None) -> None:
        """Have one fault from now on, or none."""
        with self._lock:
            self.fault, self.struck, self._matched = fault, 0, 0

    def site_of(self, call: str) -> Site | None:
        """The line of the package that is calling; None where other code is."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            name = frame.f_code.co_filename
            if name.startswith(_OWN) and name != _NOT_OWN:
                short = os.path.relpath(name, _ROOT)
                return Site(short, frame.f_lineno, frame.f_code.co_qualname, call)
            if not name.startswith(_LIBRARY) or "site-packages" in name or name == _NOT_OWN:
                return None
            frame = frame.f_back
        return None

    def next_mishap(self, site: Site | None) -> Mishap | None:
        """Count a call of ``site``; what befalls it."""
        if site is None:
            return None
        with self._lock:
            self.passed[site] = self.passed.get(site, 0) + 1
            fault = self.fault
            if fault is None or fault.site != site:
                return None
            self._matched += 1
            if self._matched <= fault.skip or 0 <= fault.times <= self.struck:
                return None
            self.struck += 1
        if fault.mishap is Mishap.DELAY:
            time.sleep(_DELAY_SECONDS)
            return None
        return fault.mishap

    def fail_if(self, mishap: Mishap | None) -> None:
        """Raise where the mishap is an error."""
        if mishap is not None and isinstance(mishap.value, int):
            raise OSError(mishap.value, os.strerror(mishap.value))

    @contextmanager
    def watched(self) -> Iterator[Sites]:
        """Within, calls of the package pass through here."""
        replaced: list[tuple[Any, str, Any]] = []

        def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
            original = getattr(owner, name)
            replaced.append((owner, name, original))
            setattr(owner, name, make(original))

        try:
            for name in ("open", "stat", "lstat", "fstat", "listdir", "posix_fadvise"):
                replace(os, name, lambda original, name=name: self._failing(original, name))
            for name in ("preadv", "readv"):
                replace(os, name, lambda original, name=name: self._reading(original, name))
            replace(io, "open", self._opening)
            replace(mmap, "mmap", lambda original: self._failing(original, "mmap"))
            replace(ring, "map_descriptor", lambda original: self._failing(original, "map_descriptor"))
            replace(ring, "system_call", lambda original: self._answering(original, "io_uring_setup"))
            replace(probe, "system_call", lambda original: self._answering(original, "io_uring_enter"))
            replace(files, "direct_alignments", lambda original: self._unknowing(original, "statx", None))
            replace(
                files, "is_memory_file_system", lambda original: self._unknowing(original, "fstatfs", False)
            )
            yield self
        finally:
            for owner, name, original in reversed(replaced):
                setattr(owner, name, original)

    def _failing(self, original: Any, call: str) -> Any:
        def failing(*arguments: Any, **named: Any) -> Any:
            self.fail_if(self.next_mishap(self.site_of(call)))
            return original(*arguments, **named)

        return failing

    def _unknowing(self, original: Any, call: str, unknown: Any) -> Any:
        """For calls that have an answer for when the system gives none."""

        def unknowing(fd: int) -> Any:
            return original(fd) if self.next_mishap(self.site_of(call)) is None else unknown

        return unknowing

    def _answering(self, original: Any, call: str) -> Any:
        """For calls that return minus the error number."""

        def answering(*arguments: Any) -> int:
            mishap = self.next_mishap(self.site_of(call))
            return original(*arguments) if mishap is None else -int(mishap.value)

        return answering

    def _reading(self, original: Any, call: str) -> Any:
        def reading(fd: int, buffers: Any, *rest: Any) -> int:
            mishap = self.next_mishap(self.site_of(call))
            self.fail_if(mishap)
            count = int(original(fd, buffers, *rest))
            if mishap is None:
                return count
            told = count // 2 if mishap is Mishap.HALF and count > 1 else int(mishap is Mishap.HALF and count)
            (buffer,) = buffers
            view = memoryview(buffer).cast("B")
            view[told:count] = bytes([_RUBBISH]) * (count - told)
            return told

        return reading

    def _opening(self, original: Any) -> Any:
        def opening(*arguments: Any, **named: Any) -> Any:
            site = self.site_of("io.open")
            self.fail_if(self.next_mishap(site))
            opened = original(*arguments, **named)
            return opened if site is None else _File(opened, self)

        return opening
