"""``docs/grpc.md`` keeps its word: examples run, requests are requests, tables are those of the code.

Guarded: a status table that lacks an error; a field renamed under the reader; an example that worked once.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format

from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.statuses import STATUSES
from pageann.wire.vectors import unpack_vectors
from tests.library.samples import Sample
from tests.reference.protocol_page import PAGE, fresh
from tests.server.client.page import examples
from tests.server.serving import ServerThread


def test_tables_are_fresh() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == fresh(page), "run `python -m tests.reference.protocol_page`"


def test_tables_are_complete() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for kind, mapped in STATUSES.items():
        assert f"| {mapped.code.name} | `{kind.code}` | `{kind.__name__}` |" in page
    for method in pb.DESCRIPTOR.services_by_name["SearchService"].methods:
        assert f"| `{method.name}` |" in page
    for name, message in pb.DESCRIPTOR.message_types_by_name.items():
        _, _, rest = page.partition(f"**{name}**")
        section = rest.partition("**")[0]
        for field in message.fields:
            assert f"| {field.number} | `{field.name}` |" in section, (name, field.name)


@pytest.mark.parametrize("number", range(2))
def test_python_examples(server: ServerThread, sample: Sample, number: int) -> None:
    names: dict[str, Any] = {"address": server.address, "queries": sample.queries}
    exec(compile(examples("python")[number], str(PAGE), "exec"), names)
    with sample.open() as index:
        expected = index.search(sample.queries, 10)
    if number == 0:
        np.testing.assert_array_equal(names["ids"], expected.ids)
        np.testing.assert_array_equal(names["vectors"], sample.base[expected.ids[0]])
        return
    assert [len(answer) for answer in names["answers"]] == [10] * len(sample.queries)
    assert [[int(each) for each, _ in answer] for answer in names["answers"]] == expected.ids.tolist()


def grpcurl_calls() -> list[tuple[str, str]]:
    """(method, JSON) of every call by grpcurl on the page."""
    found = []
    for block in examples("sh"):
        words = shlex.split(block)
        if words[0] == "grpcurl":
            found.append((words[-1], words[words.index("-d") + 1]))
    return found


def test_requests_of_grpcurl_are_requests() -> None:
    methods = pb.DESCRIPTOR.services_by_name["SearchService"].methods_by_name
    calls = grpcurl_calls()
    assert [name for name, _ in calls] == [
        f"pageann.v1.SearchService/{name}" for name in ("ListIndexes", "Search")
    ]
    for name, text in calls:
        message = getattr(pb, methods[name.partition("/")[2]].input_type.name)()
        json_format.Parse(text, message)
    search = json_format.Parse(calls[1][1], pb.SearchRequest())
    assert unpack_vectors(search.queries, most_rows=1, most_dim=4).tolist() == [[1, 2, 3, 4]]


def test_the_line_that_makes_base64_does() -> None:
    (line,) = [block for block in examples("sh") if block.startswith("python3")]
    program = re.search(r'"(.*)"', line)
    assert program
    assert '"data": "AACAPwAAAEAAAEBAAACAQA=="' in PAGE.read_text(encoding="utf-8")
    written: list[str] = []
    exec(program[1], {"print": written.append})
    assert written == ["AACAPwAAAEAAAEBAAACAQA=="]
