"""API keys: only their hashes are kept, and a change of their file counts from the next look on.

A file of keys has one line a key, ``NAME ROLE SHA256``; empty lines and those that begin with ``#``
are passed over. The role is ``read`` (search and look) or ``admin`` (reload too). Keys are drawn at
random, or refused if short, so that their plain hash cannot be searched for.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pageann.errors import InvalidArgument

__all__ = ["Caller", "KeyRing", "hashed_line", "parse_lines"]

KEY_LENGTH_MIN = 20
ROLES = ("read", "admin")

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    name: str
    is_admin: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes
    caller: Caller


def hashed_line(name: str, role: str, key: str) -> str:
    """The line of a file of keys that stands for ``key``. Raises InvalidArgument."""
    if not _WORD.match(name):
        raise InvalidArgument(f"key name {name!r}: use up to 64 letters, digits and . _ @ -")
    if role not in ROLES:
        raise InvalidArgument(f"role {role!r} of key {name}: choose read or admin")
    if len(key) < KEY_LENGTH_MIN or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidArgument(
            f"a key has at least {KEY_LENGTH_MIN} printable ASCII characters without blanks; "
            "draw one with `openssl rand -hex 32`"
        )
    return f"{name} {role} {hashlib.sha256(key.encode()).hexdigest()}"


def parse_lines(lines: Iterable[str], where: str) -> list[_Entry]:
    """The keys of a file. InvalidArgument names ``where`` and the line, and repeats nothing of it."""
    entries: list[_Entry] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split()
        if not (len(words) == 3 and _WORD.match(words[0]) and words[1] in ROLES and _HASH.match(words[2])):
            raise InvalidArgument(
                f"{where}, line {number}: write NAME, read or admin, and the SHA-256 of the key; "
                "`pageann serve --hash-key NAME:ROLE` makes such a line"
            )
        entries.append(_Entry(bytes.fromhex(words[2]), Caller(words[0], words[1] == "admin")))
    return entries


class KeyRing:
    """The keys of a server: those of ``lines``, and those of ``file`` (None: no file).

    Raises InvalidArgument if a line cannot be understood. :meth:`refresh` reads a changed file again.
    """

    def __init__(self, file: Path | None, lines: Sequence[str] = ()) -> None:
        self._file = file
        self._fixed = parse_lines(lines, "keys")
        self._by_digest = _by_digest(self._fixed)
        self._seen: tuple[int, ...] = ()
        self.refresh()

    def refresh(self) -> bool:
        """Look whether the file has changed; whether keys were read again.

        Where the file cannot be understood any more the keys that were read last stay in force, and
        InvalidArgument is raised once for each change. A file that has gone takes its keys with it.
        """
        if self._file is None:
            return False
        try:
            found = os.stat(self._file)
        except FileNotFoundError:
            seen: tuple[int, ...] = (-1,)
        except OSError as error:
            raise InvalidArgument(f"{self._file}: cannot be read: {error.strerror}") from None
        else:
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen == self._seen:
            return False
        started = bool(self._seen)
        self._seen = seen
        if seen == (-1,) and not started:
            raise InvalidArgument(f"{self._file}: there is no such file of keys; check keys_file")
        self._by_digest = _by_digest([*self._fixed, *(self._read(self._file) if seen != (-1,) else [])])
        return True

    @staticmethod
    def _read(file: Path) -> list[_Entry]:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise InvalidArgument(f"{file}: cannot be read; check its permission and encoding") from None
        return parse_lines(lines, str(file))

    def __len__(self) -> int:
        return len(self._by_digest)

    def caller_of(self, key: str | bytes) -> Caller | None:
        """Whose key this is; where two lines have the same key, that of the later one.

        The time it takes does not depend on how much of a key is right: hashes are looked up, which nobody
        can choose byte by byte, and the one found is compared in constant time.
        """
        digest = hashlib.sha256(key if isinstance(key, bytes) else key.encode()).digest()
        entry = self._by_digest.get(digest)
        if entry is not None and hmac.compare_digest(digest, entry.digest):
            return entry.caller
        return None


def _by_digest(entries: Iterable[_Entry]) -> dict[bytes, _Entry]:
    return {entry.digest: entry for entry in entries}
