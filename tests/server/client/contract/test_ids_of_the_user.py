"""Ids of every kind come through a service; see tests/library."""

from __future__ import annotations

from tests.server.client.contract.shared import taken_over

globals().update(
    taken_over(
        "test_ids_of_the_user",
        library_only={
            "test_reads_for_ids_are_counted": "totals are for the operator, in metrics",
            "test_duplicate_ids_are_refused_by_name": "builds",
            "test_extreme_integers_are_ids": "builds",
            "test_the_id_that_pads_is_refused": "builds",
        },
    )
)
