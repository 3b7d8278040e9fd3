"""What the system counts of this process: memory held, bytes read from disk."""

from __future__ import annotations

from pathlib import Path

__all__ = ["memory_bytes", "peak_bytes", "read_bytes"]


def memory_bytes() -> dict[str, int]:
    """``rss``: all resident memory, mapped files included; ``private``: without them. 0 where not told."""
    return {"rss": _status_bytes("VmRSS"), "private": _status_bytes("RssAnon")}


def peak_bytes() -> int:
    """The most that was resident at once since this program began; 0 where not told.

    Not ``ru_maxrss``, which on Linux begins with what the parent held when it forked.
    """
    return _status_bytes("VmHWM")


def read_bytes() -> int:
    """Bytes that the storage layer fetched for this process; 0 where not told.

    Mapped files and direct reads count, what the page cache held does not.
    """
    return _field(Path("/proc/self/io"), "read_bytes")


def _status_bytes(field: str) -> int:
    return _field(Path("/proc/self/status"), field) * 1024


def _field(file: Path, field: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
