"""What this process may use: cores and memory."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

__all__ = ["available_memory_bytes", "peak_rss_bytes", "resident_bytes", "usable_cores"]

_CGROUP = Path("/sys/fs/cgroup")


def _cgroup_quota_cores() -> int:
    """Whole cores of the cgroup's quota, at least 1; 0 where there is none."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return 0
    return 0 if quota == "max" else max(1, int(quota) // max(1, int(period)))


def usable_cores() -> int:
    """Cores that affinity and the cgroup quota allow, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores, _cgroup_quota_cores() or cores)


def _memory_info_bytes(field: str) -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _cgroup_room_bytes() -> int:
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        if most == "max":
            return 0
        return max(0, int(most) - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        return 0


def available_memory_bytes() -> int:
    """RAM that MemAvailable and the cgroup leave; 4 GiB where the system does not say."""
    known = [room for room in (_memory_info_bytes("MemAvailable:"), _cgroup_room_bytes()) if room]
    return min(known) if known else 4 << 30


def peak_rss_bytes() -> int:
    """The largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """The resident set of this process now; its peak where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return peak_rss_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")
