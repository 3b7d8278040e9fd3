"""Clients speak to a real service: facts, vectors, explanations, keys, TLS, and errors as in the library."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pageann
from pageann import client as public
from pageann.client import ClientTls
from pageann.server.keys import hashed_line
from tests.library.samples import Sample
from tests.server.certificates import Authority
from tests.server.client.fake_service import answer, fake_service
from tests.server.serving import ServerThread, served

Connect = Callable[..., Any]
READ_KEY, ADMIN_KEY = "r" * 32, "a" * 32


@pytest.fixture
def client(connect: Connect, server: ServerThread) -> Any:
    """A client of the sample."""
    return connect(server.address, "sample")


def test_facts(client: Any, sample: Sample) -> None:
    info = client.info()
    assert (info.name, info.rows, info.dim, info.metric) == ("sample", 900, 24, "l2")
    assert info.dtype == np.float32
    assert info.serving
    assert info.version
    assert info.draining_ledger is None
    assert not info.string_ids
    assert client.ledger.total == sum(item.bytes for item in info.ledger.items) > 0
    assert (client.rows, client.dim, client.dtype, client.metric, len(client)) == (
        900,
        24,
        "float32",
        "l2",
        900,
    )
    with sample.open() as index:
        expected = index.describe()
    assert client.describe()["raw_bytes"] == expected["raw_bytes"]
    assert str(sample.path) not in str(client.describe())
    assert [each.name for each in client.list_indexes()] == ["sample"]
    assert "900 x 24 float32, l2" in repr(info)


def test_answers_are_the_library_s_bit_by_bit(client: Any, sample: Sample) -> None:
    with sample.open() as index:
        for options in ({"effort": 20}, {"exact": True}, {"radius": 30.0, "effort": 50}):
            mine, theirs = index.search(sample.queries, **options), client.search(sample.queries, **options)
            np.testing.assert_array_equal(mine.ids, theirs.ids)
            np.testing.assert_array_equal(mine.distances, theirs.distances)
            assert mine.ids.dtype == theirs.ids.dtype
            for name in ("reads", "hops", "effort", "codes_scored"):
                assert getattr(mine.stats, name).dtype == getattr(theirs.stats, name).dtype, name


def test_explanations(client: Any, sample: Sample) -> None:
    found = client.explain(sample.queries[0], 5, effort=20)
    assert found.to_dict()["k"] == 5
    assert found.to_svg().startswith("<svg")
    assert "effort 20" in str(found)
    for text in (str(found), found.to_svg(), str(found.to_dict())):
        assert str(sample.path.parent) not in text


def test_a_reload_of_what_is_served_changes_nothing(client: Any) -> None:
    assert client.reload() is False


def test_errors_are_the_library_s(
    connect: Connect, client: Any, server: ServerThread, sample: Sample
) -> None:
    with pytest.raises(KeyError, match="id 7777 is not in the index"):
        client.get([7777])
    with pytest.raises(pageann.InvalidArgument, match=r"\(1, 3\)"):
        client.search(np.ones(3))
    with pytest.raises(pageann.IndexNotFound):
        connect(server.address, "elsewhere").search(sample.queries)


@pytest.mark.parametrize(
    "ids",
    ["photo", b"photo", 5, [1, "a"], ["a", 1], [1.5], [True], np.zeros((2, 2), int), ["\ud800"], [None]],
)
def test_ids_that_no_message_can_carry(client: Any, ids: Any) -> None:
    with pytest.raises(pageann.InvalidArgument, match="id"):
        client.get(ids)


def test_an_integer_beyond_64_bits_is_an_unknown_id(client: Any) -> None:
    with pytest.raises(pageann.UnknownId, match=str(2**64)):
        client.get([2**64])


@pytest.fixture
def guarded(sample: Sample) -> Iterator[ServerThread]:
    """A server that wants keys."""
    keys = (hashed_line("reader", "read", READ_KEY), hashed_line("boss", "admin", ADMIN_KEY))
    with served(sample.path, keys=keys) as server:
        yield server


def test_keys(connect: Connect, guarded: ServerThread, sample: Sample) -> None:
    for key in (None, "x" * 32):
        with pytest.raises(pageann.Unauthenticated):
            connect(guarded.address, api_key=key).search(sample.queries)
    reader = connect(guarded.address, api_key=READ_KEY)
    assert reader.search(sample.queries[0]).counts.tolist() == [10]
    with pytest.raises(pageann.PermissionRefused):
        reader.reload()
    assert connect(guarded.address, api_key=ADMIN_KEY).reload() is False


@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel", b"bytes", 5])
def test_a_key_is_plain_text(connect: Connect, key: Any) -> None:
    with pytest.raises(pageann.InvalidArgument, match="api_key") as caught:
        connect("127.0.0.1:1", api_key=key)
    assert str(key) not in str(caught.value) or not key


def test_tls_both_ways(connect: Connect, sample: Sample, tmp_path: Path) -> None:
    authority = Authority()
    root = tmp_path / "root.pem"
    root.write_bytes(authority.pem)
    certificate, key = authority.pair("127.0.0.1").write(tmp_path, "server")
    own_certificate, own_key = authority.pair("someone").write(tmp_path, "client")
    settings = {"tls_certificate_file": certificate, "tls_key_file": key, "tls_client_ca_file": str(root)}
    with served(sample.path, **settings) as server:
        known = ClientTls(root_file=root, certificate_file=own_certificate, key_file=own_key)
        assert connect(server.address, tls=known).rows == 900
        for tls in (None, ClientTls(), ClientTls(root_file=root)):
            with pytest.raises(pageann.ServiceUnavailable):
                connect(server.address, tls=tls, retries=0).info()


def test_files_of_tls_that_are_not_there(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(pageann.InvalidArgument, match=r"nowhere\.pem"):
        connect("127.0.0.1:1", tls=ClientTls(root_file=tmp_path / "nowhere.pem"))
    with pytest.raises(pageann.InvalidArgument, match="go together"):
        ClientTls(key_file=tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("retries", -1),
        ("retries", 1.5),
        ("retries", 101),
        ("channels", 0),
        ("channels", True),
        ("channels", 65),
    ],
)
def test_settings_that_cannot_be(connect: Connect, option: str, value: Any) -> None:
    with pytest.raises(pageann.InvalidArgument, match=f"{option}="):
        connect("127.0.0.1:1", **{option: value})


@pytest.mark.parametrize("address", ["", "  ", None, 50051])
def test_an_address_is_text(connect: Connect, address: Any) -> None:
    with pytest.raises(pageann.InvalidArgument, match="HOST:PORT"):
        connect(address)


def test_channels_are_connections(connect: Connect) -> None:
    with fake_service(lambda request, context: answer(1, request.k)) as (address, service):
        client = connect(address, channels=3)
        for _ in range(6):
            client.search(np.ones(4))
    assert len(service.peers) == 3


def test_a_closed_client_says_so(connect: Connect, server: ServerThread) -> None:
    with connect(server.address) as client:
        client.info()
        client.close()
    client = connect(server.address)
    client.info()
    inner = getattr(client, "_client", client)
    inner._session.closed = True
    with pytest.raises(pageann.IndexClosed, match="this client was closed"):
        client.info()


def test_public_names() -> None:
    assert public.__all__ == sorted(set(public.__all__))
    assert all(getattr(public, name) for name in public.__all__)
    assert not hasattr(public, "no_such_name")


def test_a_missing_package_is_named_with_its_extra() -> None:
    program = (
        "import sys; sys.modules['grpc'] = None\n"
        "import pageann, pageann.client\n"
        "try: pageann.client.Client\n"
        "except pageann.MissingDependency as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pageann[serve]" in done.stdout


def test_a_client_loads_no_index() -> None:
    program = (
        "import sys, pageann.client; pageann.client.Client; pageann.client.AsyncClient\n"
        "print(sorted({'numba', 'faiss', 'sklearn', 'pageann.api', 'pageann.index'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
