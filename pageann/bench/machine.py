"""Facts about the machine and about this process."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["cpu_seconds", "describe_machine", "describe_storage", "rss_bytes"]

_PACKAGES = ("pageann", "numpy", "numba", "faiss-cpu")


def cpu_seconds() -> float:
    """User and system time of all threads of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_bytes() -> int:
    """Resident set of this process now; its peak where the system does not tell (macOS)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_machine() -> dict[str, Any]:
    """What a reader of the figures needs to know; no host name."""
    return {
        "cpu": _cpu_name(),
        "cores": _usable_cores(),
        "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"],
    }


def describe_storage(path: Path) -> dict[str, Any]:
    """What ``path`` lies on, as far as the system tells: file system, disk model, scheduler, read-ahead."""
    filesystem, device = _mount_of(path.resolve())
    queue = _queue_folder(path)
    facts: dict[str, Any] = {"filesystem": filesystem, "device": Path(device).name if device else ""}
    for name, file in (
        ("scheduler", "scheduler"),
        ("read_ahead_kib", "read_ahead_kb"),
        ("rotational", "rotational"),
    ):
        facts[name] = _first_line(queue / file) if queue else ""
    facts["model"] = _first_line(queue.parent / "device" / "model") if queue else ""
    return facts


def _mount_of(path: Path) -> tuple[str, str]:
    """``(file system, device)`` of the innermost mount that holds ``path``; empty where unknown."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return "", ""
    best, found = -1, ("", "")
    for device, place, filesystem, *_ in (line.split() for line in lines):
        if path.is_relative_to(place) and len(place) >= best:
            best, found = len(place), (filesystem, device)
    return found


def _queue_folder(path: Path) -> Path | None:
    """The folder in which Linux describes the request queue of the disk below ``path``."""
    try:
        number = os.stat(path).st_dev
        block = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True)
    except OSError:
        return None
    return next((each / "queue" for each in (block, block.parent) if (each / "queue").is_dir()), None)


def _first_line(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
