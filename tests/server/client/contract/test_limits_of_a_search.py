"""Deadlines and limits on reads reach the engine behind a service; see tests/library."""

from __future__ import annotations

from tests.server.client.contract.shared import taken_over

globals().update(taken_over("test_limits_of_a_search", library_only={}))
