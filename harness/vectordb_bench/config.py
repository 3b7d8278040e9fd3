"""Where the index lies, and how it is built and searched."""

from pydantic import BaseModel

import pageann

from ..api import DBCaseConfig, DBConfig, MetricType

_METRICS = {"L2": "l2", "IP": "ip", "DP": "ip", "COSINE": "cosine"}


class PageANNConfig(DBConfig):
    """An index is a folder on this machine."""

    path: str

    def to_dict(self) -> dict[str, str]:
        """What the client is given."""
        return {"path": self.path}


class PageANNIndexConfig(BaseModel, DBCaseConfig):
    """One budget, one effort."""

    metric_type: MetricType | None = None
    memory: str = "30%"
    effort: int = 40

    def index_param(self) -> dict[str, str]:
        """Arguments of ``pageann.build``."""
        name = "COSINE" if self.metric_type is None else str(self.metric_type.value)
        if name not in _METRICS:
            raise pageann.InvalidArgument(f"metric {name!r}: PageANN has {', '.join(_METRICS)} here")
        return {"metric": _METRICS[name], "memory": self.memory}

    def search_param(self) -> dict[str, int]:
        """Arguments of ``Index.search``."""
        return {"effort": self.effort}
