"""The examples of ``docs/grpc.md``."""

from __future__ import annotations

import re

from tests.reference.protocol_page import PAGE

__all__ = ["examples"]


def examples(language: str) -> list[str]:
    """Its blocks of code in ``language``, in order."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
