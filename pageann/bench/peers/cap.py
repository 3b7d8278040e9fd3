"""A hard limit on the memory that a process takes from now on: a memory cgroup, which only root can make.

Everything counts that the kernel keeps for the process, its share of the page cache included. What it held
before it was put under the limit stays charged elsewhere. RLIMIT_AS or RLIMIT_DATA would be no substitute:
the one counts address space, the other not the page cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cap", "capped", "find_hierarchy"]

_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where memory cgroups are made, and what their files are called."""

    folder: Path
    version: int

    @property
    def limit_file(self) -> str:
        """Bytes allowed."""
        return "memory.max" if self.version == 2 else "memory.limit_in_bytes"

    @property
    def swap_files(self) -> tuple[str, ...]:
        """What else must be limited so that nothing is swapped out."""
        return ("memory.swap.max",) if self.version == 2 else ("memory.memsw.limit_in_bytes",)


def find_hierarchy(root: Path = _ROOT) -> Hierarchy | None:
    """Where this process may make memory cgroups; None where it may not."""
    if (root / "memory" / "memory.limit_in_bytes").exists() or (root / "memory" / "cgroup.procs").exists():
        found = Hierarchy(root / "memory", 1)
    elif "memory" in _words(root / "cgroup.subtree_control"):
        found = Hierarchy(root, 2)
    else:
        return None
    return found if os.access(found.folder, os.W_OK) else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class Cap:
    """One cgroup with a limit."""

    folder: Path

    def hold(self, pid: int) -> None:
        """Put a process under the limit."""
        (self.folder / "cgroup.procs").write_text(str(pid))


@contextmanager
def capped(hierarchy: Hierarchy, limit_bytes: int, name: str) -> Iterator[Cap]:
    """A cgroup called ``name`` that allows ``limit_bytes``; its processes must have ended by the end."""
    folder = hierarchy.folder / name
    folder.mkdir()
    try:
        (folder / hierarchy.limit_file).write_text(str(limit_bytes))
        for file in hierarchy.swap_files:
            if (folder / file).exists():
                (folder / file).write_text("0" if hierarchy.version == 2 else str(limit_bytes))
        yield Cap(folder)
    finally:
        folder.rmdir()
