"""A rebuilt index is taken into service under load, and not one call fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest

import pageann
from pageann.server import ServerThread
from pageann.server.v1 import pageann_pb2 as pb
from tests.library.samples import Sample
from tests.server.serving import Caller, Load, calling, code_of, eventually, figures, served

Code = grpc.StatusCode
METRICS = "127.0.0.1:0"


def rebuild(sample: Sample, seed: int) -> None:
    """Publish another build of other vectors at the same path."""
    base = np.random.default_rng(seed).standard_normal(sample.base.shape).astype(np.float32)
    pageann.build(base, sample.path, memory=sample.kind.memory, threads=1)


def version(caller: Caller) -> pb.IndexInfo:
    """What is in service."""
    return caller.call("GetIndex", pb.GetIndexRequest()).index


def settled(server: ServerThread, caller: Caller, old: str) -> bool:
    """Whether another version is in service with its whole budget, and the old one gone."""
    info = version(caller)
    return info.version != old and not info.HasField("draining_ledger") and swaps(server, "done") >= 1


def swaps(server: ServerThread, outcome: str) -> float:
    """How many swaps ended so."""
    return figures(server).get(f'pageann_index_swaps_total{{index="sample",outcome="{outcome}"}}', 0.0)


def test_a_build_is_taken_up_under_load(own_sample: Sample) -> None:
    with (
        served(own_sample.path, metrics_listen=METRICS) as server,
        calling(server.address) as caller,
        Load(server.address, own_sample.queries) as load,
    ):
        before = version(caller)
        load.wait_for(50)
        for round_number in range(2):
            old = version(caller).version
            done = swaps(server, "done")
            rebuild(own_sample, round_number)
            eventually(
                lambda old=old, done=done: (
                    version(caller).version != old and swaps(server, "done") == done + 1
                ),
                "the new version is in service",
            )
        load.wait_for(50)
        load.end()
        assert load.failures == []
        after = version(caller)
        assert after.version != before.version
        assert after.ledger.budget_bytes == before.ledger.budget_bytes
        assert not after.HasField("draining_ledger")
        assert figures(server)['pageann_index_queries_total{index="sample"}'] >= load.answers


def test_reload_answers_when_new_calls_go_to_the_new_version(own_sample: Sample) -> None:
    with (
        served(own_sample.path, watch_seconds=600.0, metrics_listen=METRICS) as server,
        calling(server.address) as caller,
    ):
        old = version(caller)
        assert caller.call("Reload", pb.ReloadRequest()).changed is False
        rebuild(own_sample, 5)
        answer = caller.call("Reload", pb.ReloadRequest(index="sample"))
        assert answer.changed
        assert answer.index.version != old.version
        eventually(lambda: settled(server, caller, old.version), "the whole budget is in use again")
        assert version(caller).ledger.budget_bytes == old.ledger.budget_bytes


def test_both_versions_stand_in_the_ledger_while_one_drains(own_sample: Sample) -> None:
    settings = {"watch_seconds": 600.0, "metrics_listen": METRICS, "swap_memory": "60%"}
    with served(own_sample.path, **settings) as server, calling(server.address) as caller:
        old = version(caller)
        # A call that has not ended keeps the old version, as one of a minute would.
        held = next(iter(server.running._registry)).take()
        rebuild(own_sample, 6)
        info = caller.call("Reload", pb.ReloadRequest()).index
        assert info.ledger.budget_bytes == int(0.6 * old.ledger.budget_bytes)
        eventually(lambda: version(caller).HasField("draining_ledger"), "the old version drains")
        assert version(caller).draining_ledger.total_bytes == old.ledger.total_bytes
        assert figures(server)['pageann_index_draining_bytes{index="sample"}'] == old.ledger.total_bytes
        assert code_of(lambda: caller.search(own_sample.queries[0])) is Code.OK
        held.index.search(own_sample.queries[0])
        server._loop.call_soon_threadsafe(held.let_go)  # type: ignore[union-attr]
        eventually(lambda: settled(server, caller, old.version), "the old version is gone")


def test_a_reload_whose_caller_leaves_is_carried_through(own_sample: Sample) -> None:
    with (
        served(own_sample.path, watch_seconds=600.0, metrics_listen=METRICS) as server,
        calling(server.address) as caller,
    ):
        old = version(caller)
        held = next(iter(server.running._registry)).take()
        rebuild(own_sample, 7)
        assert caller.call("Reload", pb.ReloadRequest()).changed
        # The next one waits for the call that keeps the old version; its caller does not.
        late = code_of(lambda: caller.call("Reload", pb.ReloadRequest(), timeout=0.3))
        assert late is Code.DEADLINE_EXCEEDED
        server._loop.call_soon_threadsafe(held.let_go)  # type: ignore[union-attr]
        eventually(lambda: settled(server, caller, old.version), "the old version is gone")
        assert caller.call("Reload", pb.ReloadRequest()).changed is False


def test_a_damaged_build_does_not_replace_a_sound_one(
    own_sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        served(own_sample.path, metrics_listen=METRICS) as server,
        calling(server.address) as caller,
        Load(server.address, own_sample.queries, threads=2) as load,
    ):
        old = version(caller).version
        current = own_sample.path / "CURRENT"
        current.write_text(current.read_text().replace("manifest", "mannifest"))
        eventually(lambda: swaps(server, "failed") >= 1, "the swap fails")
        load.wait_for(20)
        assert version(caller).version == old
        assert code_of(lambda: caller.call("Reload", pb.ReloadRequest())) is Code.DATA_LOSS
        rebuild_elsewhere(own_sample)
        eventually(lambda: settled(server, caller, old), "a sound build is taken up")
        load.end()
        assert load.failures == []


def rebuild_elsewhere(sample: Sample) -> None:
    """Put a sound index in the place of the damaged one."""
    fresh = sample.path.with_suffix(".fresh")
    pageann.build(sample.base[:500], fresh, memory=sample.kind.memory, threads=1)
    shutil.rmtree(sample.path)
    fresh.rename(sample.path)


def test_an_index_that_vanishes_is_served_on(own_sample: Sample, tmp_path: Path) -> None:
    with served(own_sample.path) as server, calling(server.address) as caller:
        own_sample.path.rename(tmp_path / "moved")
        for query in own_sample.queries:
            assert code_of(lambda query=query: caller.search(query)) is Code.OK
