"""Range searches through a service are the library's; see tests/library."""

from __future__ import annotations

from tests.server.client.contract.shared import taken_over

globals().update(
    taken_over(
        "test_radius",
        library_only={
            "test_more_results_than_allowed_are_refused": "a server has one limit for all, most_results",
            "test_no_more_is_searched_for_than_may_be_found": "looks into the engine",
            "test_work_is_counted": "totals are for the operator, in metrics",
        },
    )
)
