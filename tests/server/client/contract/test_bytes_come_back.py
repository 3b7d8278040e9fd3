"""Vectors come through a service byte for byte; see tests/library."""

from __future__ import annotations

from tests.server.client.contract.shared import taken_over

globals().update(
    taken_over(
        "test_bytes_come_back",
        library_only={
            "test_export": "writes files of the machine that has the index",
            "test_special_values_survive": "builds",
            "test_what_an_index_says_of_itself": "tests/server/client/test_what_clients_say.py has its like",
        },
    )
)
