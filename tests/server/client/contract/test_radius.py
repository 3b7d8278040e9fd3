"""Range searches through a service are the library's; see tests/library."""

from __future__ import annotations

from tests.server.client.contract.shared import taken_over

globals().update(
    taken_over(
        "test_radius",
        library_only={
            "test_work_is_counted": "totals are for the operator, in metrics",
        },
    )
)
