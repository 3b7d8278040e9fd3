"""Download one file over HTTP, going on where an earlier try stopped, and check what came.

Bytes go to ``NAME.part``; ``NAME.part.json`` beside it remembers from which address and which version of
the file they are, so that a file that changed meanwhile is fetched anew. ``NAME`` appears only when it is
complete, has the right length and, where one is published, the right checksum.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pageann.datasets.files import storage_error
from pageann.errors import InvalidArgument, InvalidData, StorageError

__all__ = ["Download", "Downloaded", "Patience", "download", "file_sha256"]

_CHUNK_BYTES = 1 << 18
_TRANSIENT_STATUS = frozenset({408, 416, 429, 500, 502, 503, 504})
_AGENT = "pageann-datasets"

Progress = Callable[[int, int], None]
"""Told (bytes so far, bytes in all or 0)."""


@dataclass(frozen=True, slots=True)
class Download:
    """What to fetch and what it must be."""

    url: str
    target: Path
    whole_bytes: int = 0
    """Length that the remote file must have; 0: any."""
    first_bytes: int = 0
    """Fetch that many bytes from the start; 0: all."""
    sha256: str = ""
    """Checksum of the fetched bytes, in hex; empty: not checked."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What came."""

    path: Path
    bytes: int
    sha256: str
    checked: bool
    """Whether a published checksum was there to compare with."""
    resumed_bytes: int
    """Bytes that an earlier call had brought; all of them where the file was complete already."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on when a server does not answer."""

    tries: int = 6
    """Tries in a row that bring no byte, before it is given up."""
    timeout_seconds: float = 30.0
    """Without a single byte."""
    pause_seconds: float = 1.0
    """Before the second try; doubled for each further one."""
    pause: Callable[[float], None] = time.sleep


def download(
    what: Download,
    *,
    progress: Progress | None = None,
    patience: Patience | None = None,
    finish: Callable[[Path], None] | None = None,
) -> Downloaded:
    """Fetch ``what``; ``finish`` may change the complete bytes before they get their name.

    Raises StorageError where the server cannot be reached or stops answering (the same call goes on
    later), InvalidData for a wrong length or checksum, InvalidArgument for an address that is not HTTP.
    """
    if not what.url.startswith(("http://", "https://")):
        raise InvalidArgument(f"{what.url}: only http and https addresses can be fetched")
    try:
        return _Transfer(what, progress or _silent, patience or Patience()).run(finish)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(what.target, error) from error


def file_sha256(path: Path) -> str:
    """Checksum of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _silent(done: int, total: int) -> None:
    pass


class _Transfer:
    """One file on its way."""

    def __init__(self, what: Download, progress: Progress, patience: Patience) -> None:
        self._what = what
        self._progress = progress
        self._patience = patience
        self._part = what.target.with_name(what.target.name + ".part")
        self._memory = what.target.with_name(what.target.name + ".part.json")
        self._total = what.first_bytes or what.whole_bytes

    def run(self, finish: Callable[[Path], None] | None) -> Downloaded:
        """Fetch until complete, check, and give the file its name."""
        what = self._what
        what.target.parent.mkdir(parents=True, exist_ok=True)
        if what.target.exists():
            return self._already_there()
        resumed = self._known_bytes()
        self._fetch_all()
        checksum = self._checked()
        if finish is not None:
            finish(self._part)
        with open(self._part, "rb") as file:
            os.fsync(file.fileno())
        size = self._part.stat().st_size
        os.replace(self._part, what.target)
        self._memory.unlink(missing_ok=True)
        return Downloaded(what.target, size, checksum, bool(what.sha256), resumed)

    def _already_there(self) -> Downloaded:
        target, wanted = self._what.target, self._what.sha256
        size, checksum = target.stat().st_size, file_sha256(target)
        expected_bytes = self._what.first_bytes or self._what.whole_bytes
        if wanted and checksum != wanted and not self._what.first_bytes:
            raise InvalidData(
                f"{target}: sha256 is {checksum}, published is {wanted}; remove it and fetch again"
            )
        if expected_bytes and size != expected_bytes:
            raise InvalidData(
                f"{target}: has {size:,} bytes, not {expected_bytes:,}; remove it and fetch again"
            )
        checked = bool(wanted) and not self._what.first_bytes
        return Downloaded(target, size, checksum, checked, size)

    def _fetch_all(self) -> None:
        """Try until all bytes are there, or too many tries in a row brought none."""
        fruitless = 0
        while True:
            before = self._known_bytes()
            try:
                self._fetch_some(before)
                return
            except _Interrupted as interrupted:
                fruitless = fruitless + 1 if self._known_bytes() <= before else 0
                if fruitless >= self._patience.tries:
                    done = self._known_bytes()
                    raise StorageError(
                        f"{self._what.url}: {interrupted}; {done:,} bytes are kept in {self._part}, the same"
                        " command goes on from there"
                    ) from interrupted
                self._patience.pause(self._patience.pause_seconds * 2 ** max(0, fruitless - 1))

    def _known_bytes(self) -> int:
        """Bytes of this very file that are here already."""
        try:
            remembered = json.loads(self._memory.read_text(encoding="utf-8"))
            size = self._part.stat().st_size
        except (OSError, ValueError):
            return 0
        return size if remembered.get("url") == self._what.url else 0

    def _version(self) -> str:
        """What the server called the version of the bytes that are here; empty where it did not say."""
        try:
            return str(json.loads(self._memory.read_text(encoding="utf-8")).get("version", ""))
        except (OSError, ValueError):
            return ""

    def _fetch_some(self, known: int) -> None:
        """One request; returns when everything is here, raises _Interrupted when it may be tried again."""
        version = self._version()
        if known and not version:
            known = 0  # nothing says that the rest would belong to the same file
        if self._total and known == self._total:
            return
        with self._request(known, version) as response:
            start = self._start_of(response, known)
            self._memory.write_text(
                json.dumps({"url": self._what.url, "version": _version_of(response)}), encoding="utf-8"
            )
            with open(self._part, "r+b" if start else "wb") as file:
                file.truncate(start)
                file.seek(start)
                self._copy(response, file, start)

    def _request(self, known: int, version: str) -> AbstractContextManager[Any]:
        headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
        end = str(self._what.first_bytes - 1) if self._what.first_bytes else ""
        if known or end:
            headers["Range"] = f"bytes={known}-{end}"
        if known:
            headers["If-Range"] = version
        request = urllib.request.Request(self._what.url, headers=headers)
        try:
            response: AbstractContextManager[Any] = urllib.request.urlopen(
                request, timeout=self._patience.timeout_seconds
            )
            return response
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._memory.unlink(missing_ok=True)  # what is here is no beginning of that file
            if error.code in _TRANSIENT_STATUS:
                raise _Interrupted(f"the server answered {error.code} {error.reason}") from None
            raise StorageError(f"{self._what.url}: the server answered {error.code} {error.reason}") from None
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise _Interrupted(_reason(error)) from None

    def _start_of(self, response: Any, known: int) -> int:
        """The position of the first byte of the answer; learns and checks the length of the whole."""
        if response.status == 206:
            span, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            start, whole_bytes = int(span.partition("-")[0] or 0), int(whole) if whole.isdigit() else 0
            if start != known:
                raise StorageError(
                    f"{self._what.url}: asked for bytes from {known:,} on, got them from {start:,} on"
                )
        else:
            start, whole_bytes = 0, int(response.headers.get("Content-Length") or 0)
        self._require_length(whole_bytes)
        self._total = self._what.first_bytes or whole_bytes or self._what.whole_bytes
        return start

    def _require_length(self, whole_bytes: int) -> None:
        expected = self._what.whole_bytes
        if expected and whole_bytes and whole_bytes != expected:
            raise InvalidData(
                f"{self._what.url}: has {whole_bytes:,} bytes, the catalogue says {expected:,}; the file was"
                " replaced, or the address leads elsewhere"
            )
        if self._what.first_bytes and whole_bytes and whole_bytes < self._what.first_bytes:
            raise InvalidData(
                f"{self._what.url}: has {whole_bytes:,} bytes, {self._what.first_bytes:,} are wanted;"
                " ask for fewer"
            )

    def _copy(self, response: Any, file: Any, start: int) -> None:
        done = start
        while not self._total or done < self._total:
            room = min(_CHUNK_BYTES, self._total - done) if self._total else _CHUNK_BYTES
            try:
                chunk = response.read1(room)
            except (TimeoutError, ConnectionError, http.client.HTTPException, OSError) as error:
                raise _Interrupted(_reason(error)) from None
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            self._progress(done, self._total)
        if self._total and done < self._total:
            file.flush()
            raise _Interrupted(f"the connection ended after {done:,} of {self._total:,} bytes")

    def _checked(self) -> str:
        checksum = file_sha256(self._part)
        if self._what.sha256 and checksum != self._what.sha256:
            self._part.unlink()
            self._memory.unlink(missing_ok=True)
            raise InvalidData(
                f"{self._what.url}: sha256 is {checksum}, published is {self._what.sha256};"
                " what came was removed, fetch again"
            )
        return checksum


class _Interrupted(Exception):
    """A try that ended early, in words."""


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(error, TimeoutError) or isinstance(inner, TimeoutError):
        return "the server did not answer in time"
    return str(inner or error) or type(error).__name__


def _version_of(response: Any) -> str:
    """A strong validator of the remote file, as If-Range takes it; empty where there is none."""
    tag: str = response.headers.get("ETag") or ""
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified") or ""
