"""A page that is spoilt under a running server is DATA_LOSS for the calls that need it, and no other harm."""

from __future__ import annotations

import logging

import grpc
import pytest

from pageann.server.v1 import pageann_pb2 as pb
from tests.library.samples import Sample
from tests.server.serving import calling, code_of, figures, served

Code = grpc.StatusCode


def test_damage_while_serving(own_sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    # A budget without room for pages, so that every search reads some.
    with (
        served(own_sample.path, memory=str(own_sample.least_bytes()), metrics_listen="127.0.0.1:0") as server,
        calling(server.address) as caller,
        caplog.at_level(logging.ERROR, "pageann.server"),
    ):
        query = own_sample.queries[0]
        assert code_of(lambda: caller.search(query)) is Code.OK
        pages = next(own_sample.path.glob("seg-*/pages.bin"))
        data = bytearray(pages.read_bytes())
        for place in range(4096 + 100, len(data), 4096):
            data[place] ^= 0xFF
        pages.write_bytes(data)
        with pytest.raises(grpc.RpcError) as caught:
            caller.search(query)
        assert caught.value.code() is Code.DATA_LOSS  # type: ignore[attr-defined]
        assert str(own_sample.path.parent) not in str(caught.value)
        assert any(str(pages) in record.getMessage() for record in caplog.records)
        assert figures(server)['pageann_rejected_total{reason="damaged-index"}'] == 1
        assert caller.call("GetIndex", pb.GetIndexRequest()).index.serving
