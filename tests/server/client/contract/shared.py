"""Takes over the tests of the library that a service must pass as well."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest

__all__ = ["taken_over"]


def taken_over(name: str, *, library_only: Mapping[str, str]) -> dict[str, Any]:
    """Tests and fixtures of ``tests/library/NAME.py``, but for those of ``library_only`` (test: reason)."""
    pytest.register_assert_rewrite(f"tests.library.{name}")
    module = vars(import_module(f"tests.library.{name}"))
    unknown = library_only.keys() - module.keys()
    assert not unknown, f"{name} has no {sorted(unknown)}"
    fixture = type(_a_fixture)
    return {
        key: value
        for key, value in module.items()
        if key not in library_only and (key.startswith("test_") or isinstance(value, fixture))
    }


@pytest.fixture
def _a_fixture() -> None:
    """Only for its type, which pytest keeps to itself."""
