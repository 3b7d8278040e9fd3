"""The programs that our harness modules are made for: the real one where it is installed, else a stand-in.

A stand-in has what the modules touch, as of: ann-benchmarks at f402b2c (June 2025), big-ann-benchmarks at
452e508 (December 2025), VectorDBBench at 4ea1810 (August 2026).
"""

from __future__ import annotations

import abc
import enum
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest

__all__ = ["HARNESS", "is_installed", "load_module", "stand_in"]

HARNESS = Path(__file__).parents[2] / "harness"


def is_installed(name: str) -> bool:
    """Whether the program itself can be imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def stand_in(monkeypatch: pytest.MonkeyPatch, **names: dict[str, Any]) -> None:
    """Put modules into ``sys.modules``, by dotted name with ``__`` for dots, with the packages above them."""
    for dunder_name, contents in names.items():
        parts = dunder_name.split("__")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if name not in sys.modules:
                module = types.ModuleType(name)
                module.__path__ = []
                monkeypatch.setitem(sys.modules, name, module)
        vars(sys.modules[".".join(parts)]).update(contents)


def load_module(monkeypatch: pytest.MonkeyPatch, folder: str, package: str, module: str) -> types.ModuleType:
    """``module`` of ``harness/folder`` as if the folder had been copied to ``package``."""
    copied = types.ModuleType(package)
    copied.__path__ = [str(HARNESS / folder)]
    monkeypatch.setitem(sys.modules, package, copied)
    monkeypatch.delitem(sys.modules, f"{package}.{module}", raising=False)
    loaded = importlib.import_module(f"{package}.{module}")
    monkeypatch.setitem(sys.modules, f"{package}.{module}", loaded)  # taken out when the test ends
    return loaded


class PlainBaseANN:
    """What both programs of the ann-benchmarks family give a module."""

    name = ""
    res: Any = None

    def get_results(self) -> Any:
        return self.res

    def get_batch_results(self) -> Any:
        return self.res

    def get_range_results(self) -> Any:
        return self.res

    def get_memory_usage(self) -> float:
        return 0.0


class MetricType(enum.StrEnum):
    """Metrics of VectorDBBench."""

    L2 = "L2"
    COSINE = "COSINE"
    IP = "IP"
    HAMMING = "HAMMING"


class DBCaseConfig(abc.ABC):
    """Options of a case."""

    @abc.abstractmethod
    def index_param(self) -> dict[str, Any]: ...

    @abc.abstractmethod
    def search_param(self) -> dict[str, Any]: ...


class VectorDB(abc.ABC):
    """What a client must define."""

    @abc.abstractmethod
    def __init__(self, dim: int, db_config: Any, db_case_config: Any, collection_name: str) -> None: ...

    @abc.abstractmethod
    def init(self) -> Any: ...

    @abc.abstractmethod
    def insert_embeddings(self, embeddings: Any, metadata: Any) -> Any: ...

    @abc.abstractmethod
    def search_embedding(self, query: Any, k: int = 100) -> Any: ...

    @abc.abstractmethod
    def optimize(self, data_size: int | None = None) -> None: ...
