"""The explanation of a query that the service has made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pageann.errors import ServiceError
from pageann.server.v1 import pageann_pb2 as pb

__all__ = ["RemoteExplanation", "explanation_of"]


@dataclass(frozen=True, slots=True, repr=False)
class RemoteExplanation:
    """How one query was answered: ``str()`` is a report, :meth:`to_svg` a picture, :meth:`to_dict` both."""

    text: str
    svg: str
    plain: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain values, as ``Index.explain(...).to_dict()`` gives them."""
        return self.plain

    def to_svg(self) -> str:
        """The picture."""
        return self.svg

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


def explanation_of(response: pb.ExplainResponse) -> RemoteExplanation:
    """The explanation in ``response``. Raises ServiceError where it is none."""
    try:
        plain = json.loads(response.json)
    except ValueError:
        plain = None
    if not isinstance(plain, dict):
        raise ServiceError("the service explained a query by what is no JSON object")
    return RemoteExplanation(response.text, response.svg, plain)
