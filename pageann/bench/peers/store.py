"""The folder in which the data and the builds of compared systems are kept between runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pageann.bench.peers.contract import Case
from pageann.bench.peers.launch import run_worker

if TYPE_CHECKING:
    from pageann.api import Index

__all__ = ["Store"]

_RECORD = "build.json"


class Store:
    """What was made for one set of vectors: the vectors as a .npy file, and an index a system."""

    def __init__(self, folder: Path, index: Index) -> None:
        self._folder = folder / f"{index.rows}x{index.dim}-{_fingerprint(Path(index.path))}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.base = self._folder / "base.npy"
        if not self.base.exists():
            index.export(self.base)

    def built(
        self, name: str, label: str, case: Case, described: dict[str, Any], seconds: float
    ) -> tuple[Path, Any]:
        """``(folder, record)`` of a build, made now if there is none; PeerFailure where it fails."""
        key = json.dumps([described["version"], described["parameters"], case.options], sort_keys=True)
        stamp = hashlib.sha256(key.encode()).hexdigest()[:12]
        folder = self._folder / f"{label.replace(' ', '-').replace('%', 'pc')}-{stamp}"
        if (folder / _RECORD).exists():
            record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            return folder, {**record, "cached": True}
        return folder, {**self._build(name, case, folder, seconds), "cached": False}

    def _build(self, name: str, case: Case, folder: Path, seconds: float) -> dict[str, Any]:
        unfinished = folder.with_name(folder.name + ".partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        task = {
            "action": "build", "peer": name, "case": asdict(case), "folder": str(unfinished),
            "base": str(self.base),
        }  # fmt: skip
        record = run_worker(task, seconds)
        (unfinished / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        os.replace(unfinished, folder)
        return record


def _fingerprint(index: Path) -> str:
    """Of the version that is published: its name and checksum stand in CURRENT."""
    return hashlib.sha256((index / "CURRENT").read_bytes()).hexdigest()[:12]
