"""Every distance that a client gets is the true one; see tests/library."""

from __future__ import annotations

import pytest

from tests.server.client.contract.shared import taken_over

pytestmark = pytest.mark.slow  # a hundred indexes are built and served

globals().update(taken_over("test_answers_are_exact", library_only={}))
