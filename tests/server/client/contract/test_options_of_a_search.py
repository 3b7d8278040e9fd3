"""A service refuses what the library refuses, in words that name the option; see tests/library."""

from __future__ import annotations

from tests.server.client.contract.shared import taken_over

globals().update(
    taken_over(
        "test_options_of_a_search",
        library_only={
            "test_an_unknown_driver_is_refused": "servers open indexes, not clients",
            "test_threads_are_a_number": "servers open indexes, not clients",
        },
    )
)
