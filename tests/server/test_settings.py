"""The file gives way to the environment, and that to flags; a mistake is named where it stands."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from pageann.cli.serve import OPTIONS, SWITCHES
from pageann.errors import InvalidArgument
from pageann.server.config import IndexConfig, ServerConfig
from pageann.server.settings import config_of_dict, read_config, shown

HASH = "a" * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of settings."""
    path = tmp_path / "server.toml"
    path.write_text('most_k = 7\nqueue = 8\nstreams = 9\nmessage_bytes = "2MiB"\nreflection = true\n')
    return path


def test_each_source_overrules_the_one_before(file: Path) -> None:
    environment = {"PAGEANN_QUEUE": "80", "PAGEANN_STREAMS": "90", "PAGEANN_RATE_PER_SECOND": "2.5"}
    config = read_config(str(file), environment, {"streams": "900", "indexes": ["photos=/data/x"]})
    assert (config.most_k, config.queue, config.streams) == (7, 80, 900)
    assert (config.message_bytes, config.reflection, config.rate_per_second) == (2 << 20, True, 2.5)
    assert config.indexes == (IndexConfig("photos", Path("/data/x")),)


def test_the_environment_may_name_the_file(file: Path) -> None:
    assert read_config(None, {"PAGEANN_CONFIG": str(file)}, {}).most_k == 7


def test_indexes_from_a_table_and_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('[indexes.photos]\npath = "/data/p"\nmemory = "30%"\n')
    assert read_config(str(path), {}, {}).indexes == (IndexConfig("photos", Path("/data/p"), "30%"),)
    found = read_config(None, {"PAGEANN_INDEXES": "a=/x, /data/songs.pageann"}, {}).indexes
    assert [index.name for index in found] == ["a", "songs"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("most_kk = 1", "did you mean most_k"),
        ("most_k = 'many'", "most_k='many'"),
        ("most_k = 2.5", "most_k=2.5"),
        ("most_k = true", "most_k=True"),
        ("queue = -1", "queue=-1"),
        ("drain_seconds = inf", "drain_seconds"),
        ("reflection = 3", "reflection=3"),
        ("message_bytes = '30%'", "message_bytes"),
        ("io = 'mmap'", "io='mmap'"),
        ("listen = 'nowhere'", "listen='nowhere'"),
        ("listen = '::1:50051'", "listen='::1:50051'"),
        ("memory = 'lots'", "memory='lots'"),
        ("indexes = ['a=/x', 'a=/y']", "called a"),
        ("indexes = [{name = 'a'}]", "give it a path"),
        ("indexes = ['a b.pageann']", "index name 'a b'"),
        ("tls_key_file = 'k'", "belong together"),
        ("tls_client_ca_file = 'k'", "tls_client_ca_file needs"),
        ("most_k = ", "is not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=named.replace("[", r"\[")):
        read_config(str(path), {}, {})


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    with pytest.raises(InvalidArgument, match="PAGEANN_MOST_K='x'"):
        read_config(None, {"PAGEANN_MOST_K": "x"}, {})
    with pytest.raises(InvalidArgument, match="--most-k='x'"):
        read_config(None, {}, {"most_k": "x"})


@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "[::]:50051", "example.org:50051", "10.0.0.1:1"])
def test_other_machines_are_served_with_tls_and_keys_only(listen: str) -> None:
    tls = {"tls_certificate_file": "c", "tls_key_file": "k"}
    with pytest.raises(InvalidArgument, match=r"TLS .* and keys"):
        ServerConfig(listen=listen)
    with pytest.raises(InvalidArgument, match="needs keys"):
        ServerConfig(listen=listen, **tls)
    with pytest.raises(InvalidArgument, match="needs TLS"):
        ServerConfig(listen=listen, keys_file="keys")
    assert ServerConfig(listen=listen, keys_file="keys", **tls).listen == listen
    assert ServerConfig(listen=listen, tls_client_ca_file="ca", **tls).listen == listen
    assert not ServerConfig(listen=listen, insecure=True).trusts_strangers


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:50051", "localhost:50051"])
def test_this_machine_needs_neither(listen: str) -> None:
    assert ServerConfig(listen=listen).trusts_strangers


def test_what_is_printed_reads_back_but_for_secrets(tmp_path: Path) -> None:
    config = ServerConfig(
        indexes=(IndexConfig("a", Path("/x y"), "30%"),), keys=(f"alice read {HASH}", HASH), queue=3
    )
    text = shown(config)
    assert HASH not in text
    assert tomllib.loads(text)["keys"] == ["alice read ***", "***"]
    path = tmp_path / "again.toml"
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("keys =")))
    again = read_config(str(path), {}, {})
    assert again == ServerConfig(indexes=config.indexes, queue=3)


def test_settings_survive_the_way_to_a_worker() -> None:
    config = ServerConfig(
        indexes=(IndexConfig("a", Path("/x"), "30%"),), keys=(f"a read {HASH}",), rate_per_second=1.5
    )
    assert config_of_dict(config.to_dict()) == config


def test_every_option_is_a_flag_but_keys() -> None:
    flags = {name.replace("-", "_") for name in (*OPTIONS, *SWITCHES)}
    assert flags == {each.name for each in fields(ServerConfig)} - {"indexes", "keys"}


def test_defaults_in_the_help_are_those_of_the_code() -> None:
    config = ServerConfig()
    for name, (_, text) in OPTIONS.items():
        default = getattr(config, name.replace("-", "_"))
        if name.endswith("-bytes"):
            assert f"(default: {default >> 20}MiB)" in text
        elif isinstance(default, (int, float)) and name != "threads":
            assert f"(default: {default:.10g}" in text
        elif default:
            assert f"(default: {default})" in text.replace("%%", "%")
