"""PageANN: vector search in which the SSD page is the node of the graph.

```python
import pageann

report = pageann.build("base.npy", "photos.pageann", metric="l2", memory="30%")
with pageann.open("photos.pageann", memory="64MiB") as index:
    result = index.search(queries, k=10, recall=0.95)
```

Names are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pageann.api import Index, build, open, optimize, tune, verify, warmup
    from pageann.doctor_report import DoctorReport
    from pageann.errors import (
        BudgetTooSmall,
        BuildCancelled,
        DamagedIndex,
        DeadlineUnserved,
        FormatTooNew,
        IndexClosed,
        IndexExists,
        IndexLocked,
        IndexNotFound,
        InvalidArgument,
        InvalidData,
        MissingDependency,
        Overloaded,
        PageANNError,
        PermissionRefused,
        ServiceError,
        ServiceUnavailable,
        StorageError,
        Unauthenticated,
        UnknownId,
    )
    from pageann.explanation import Explanation
    from pageann.results import (
        BuildReport,
        Ledger,
        LedgerItem,
        Progress,
        QueryStats,
        RangeResult,
        SearchResult,
        StopReason,
    )
    from pageann.revision_reports import OptimizeReport, TuneReport
    from pageann.storage.shared import SharedArrays
    from pageann.types import Metric

__version__ = "0.1.0"

__all__ = [
    "BudgetTooSmall",
    "BuildCancelled",
    "BuildReport",
    "DamagedIndex",
    "DeadlineUnserved",
    "DoctorReport",
    "Explanation",
    "FormatTooNew",
    "Index",
    "IndexClosed",
    "IndexExists",
    "IndexLocked",
    "IndexNotFound",
    "InvalidArgument",
    "InvalidData",
    "Ledger",
    "LedgerItem",
    "Metric",
    "MissingDependency",
    "OptimizeReport",
    "Overloaded",
    "PageANNError",
    "PermissionRefused",
    "Progress",
    "QueryStats",
    "RangeResult",
    "SearchResult",
    "ServiceError",
    "ServiceUnavailable",
    "SharedArrays",
    "StopReason",
    "StorageError",
    "TuneReport",
    "Unauthenticated",
    "UnknownId",
    "build",
    "open",
    "optimize",
    "tune",
    "verify",
    "warmup",
]

_HOMES = {
    "pageann.api": ("Index", "build", "open", "optimize", "tune", "verify", "warmup"),
    "pageann.doctor_report": ("DoctorReport",),
    "pageann.explanation": ("Explanation",),
    "pageann.results": (
        "BuildReport",
        "Ledger",
        "LedgerItem",
        "Progress",
        "QueryStats",
        "RangeResult",
        "SearchResult",
        "StopReason",
    ),
    "pageann.revision_reports": ("OptimizeReport", "TuneReport"),
    "pageann.storage.shared": ("SharedArrays",),
    "pageann.types": ("Metric",),
}


def _home(name: str) -> str:
    """The module that ``name`` comes from; exceptions are in the one that is not listed."""
    for module, names in _HOMES.items():
        if name in names:
            return module
    return "pageann.errors"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_home(name)), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
