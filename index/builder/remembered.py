"""Keep plans beside the compiled kernels, so that a build can be held to the one made for it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from pageann.datasets.source import VectorSource
from pageann.index.builder.options import BuildOptions
from pageann.jit import cache_folder
from pageann.storage.canonical import canonical_json

__all__ = ["RememberedPlan", "recall_plan", "remember_plan"]

_MOST_PLANS = 32


@dataclass(frozen=True, slots=True)
class RememberedPlan:
    """What a plan said that only a sample can tell."""

    seconds: float
    usual_units: float | None


def _path(source: VectorSource, options: BuildOptions, memory_bytes: int) -> Path:
    """Where the plan of such a build lies; another input of the same shape counts as the same."""
    build_memory = options.build_memory and options.build_memory.resolve(source.bytes)
    facts = {
        **options.to_json(memory_bytes),
        "seed": 0,
        "shape": [source.rows, source.dim],
        "dtype": str(source.dtype),
        "build_memory": build_memory or 0,
        "threads": options.threads,
    }
    name = hashlib.blake2b(canonical_json(facts), digest_size=12).hexdigest()
    return cache_folder() / "plans" / f"{name}.json"


def remember_plan(
    source: VectorSource, options: BuildOptions, memory_bytes: int, plan: RememberedPlan
) -> None:
    """Keep ``plan`` for the build of ``source``; a folder that cannot be written is no reason to fail."""
    with contextlib.suppress(OSError):
        path = _path(source, options, memory_bytes)
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(plan), file)
        os.replace(name, path)
        kept = sorted(path.parent.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in kept[:-_MOST_PLANS]:
            old.unlink()


def recall_plan(source: VectorSource, options: BuildOptions, memory_bytes: int) -> RememberedPlan | None:
    """The last plan of such a build, if there is one."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return RememberedPlan(**json.loads(_path(source, options, memory_bytes).read_text()))
    return None
