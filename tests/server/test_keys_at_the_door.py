"""With keys, nobody calls without one, only admins reload, and a revoked key is refused while we run."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from pageann.server.keys import hashed_line
from pageann.server.v1 import pageann_pb2 as pb
from tests.library.samples import Sample
from tests.server.serving import SECONDS, Caller, calling, code_of, eventually, served

Code = grpc.StatusCode
READER, ADMIN = "reader-" + "r" * 20, "admin-" + "a" * 20


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file of two keys."""
    path = tmp_path / "keys"
    path.write_text(f"{hashed_line('reader', 'read', READER)}\n{hashed_line('root', 'admin', ADMIN)}\n")
    return path


def test_roles_and_revocation(sample: Sample, keys: Path) -> None:
    query, reload = sample.queries[0], pb.ReloadRequest()
    with served(sample.path, keys_file=str(keys)) as server, grpc.insecure_channel(server.address) as channel:
        nobody, wrong = Caller(channel), Caller(channel, "x" * 30)
        reader, admin = Caller(channel, READER), Caller(channel, ADMIN)
        for stranger in (nobody, wrong):
            assert code_of(lambda stranger=stranger: stranger.search(query)) is Code.UNAUTHENTICATED
            assert code_of(lambda stranger=stranger: stranger.call("Reload", reload)) is Code.UNAUTHENTICATED
        assert code_of(lambda: reader.search(query)) is Code.OK
        assert code_of(lambda: reader.call("Reload", reload)) is Code.PERMISSION_DENIED
        assert admin.call("Reload", reload).changed is False
        fresh = keys.with_suffix(".new")
        fresh.write_text(hashed_line("root", "admin", ADMIN) + "\n")
        os.replace(fresh, keys)
        eventually(
            lambda: code_of(lambda: reader.search(query)) is Code.UNAUTHENTICATED, "the key is revoked"
        )
        assert code_of(lambda: admin.search(query)) is Code.OK


def test_a_key_in_the_other_header(sample: Sample, keys: Path) -> None:
    with served(sample.path, keys_file=str(keys)) as server, calling(server.address) as caller:
        request = pb.ListIndexesRequest()
        answer = caller.stub.ListIndexes(request, timeout=SECONDS, metadata=[("x-api-key", READER)])
        assert [index.name for index in answer.indexes] == ["sample"]
        for bad in ("Basic " + READER, READER, "Bearer"):
            refused = code_of(
                lambda bad=bad: caller.stub.ListIndexes(
                    request, timeout=SECONDS, metadata=[("authorization", bad)]
                )
            )
            assert refused is Code.UNAUTHENTICATED


def test_each_key_has_its_rate(sample: Sample, keys: Path) -> None:
    query = sample.queries[0]
    settings = {"keys_file": str(keys), "rate_per_second": 0.01, "rate_burst": 3}
    with served(sample.path, **settings) as server, grpc.insecure_channel(server.address) as channel:
        reader, admin = Caller(channel, READER), Caller(channel, ADMIN)
        for _ in range(3):
            reader.search(query)
        assert code_of(lambda: reader.search(query)) is Code.RESOURCE_EXHAUSTED
        assert code_of(lambda: admin.search(query)) is Code.OK


def test_strangers_on_this_machine_may_reload_where_there_are_no_keys(sample: Sample) -> None:
    with served(sample.path) as server, calling(server.address) as caller:
        assert caller.call("Reload", pb.ReloadRequest()).changed is False
