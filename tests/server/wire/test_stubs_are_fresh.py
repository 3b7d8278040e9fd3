"""The shipped stubs are those of the protocol beside them.

Guarded: a change of ``pageann.proto`` that was not generated, so that server and document disagree;
stubs that need a newer gRPC or protobuf than ``pip`` was asked for, which fail at import.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.reference.installed_copy import ROOT
from tests.reference.stubs import HOME, NAMES, generate

# What generators of several versions write differently, though it means the same.
_SAME = (
    (re.compile(r"# Protobuf Python Version: [\d.]+"), "# Protobuf Python Version"),
    (re.compile(r"(Domain\.PUBLIC,)\s+\d+,\s+\d+,\s+\d+,"), r"\1"),
    (re.compile(r"GRPC_GENERATED_VERSION = '[\d.]+'"), "GRPC_GENERATED_VERSION"),
    (re.compile(r"\(object\):"), ":"),
    (re.compile(r"_Optional\[bool\]"), "bool"),
)


def without_versions(text: str) -> str:
    for pattern, replacement in _SAME:
        text = pattern.sub(replacement, text)
    return text


def floor_of(package: str) -> tuple[int, ...]:
    """The least version that the extra ``serve`` asks for."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for requirement in extras["serve"]:
        if found := re.match(rf"{package}>=([\d.]+)", requirement):
            return tuple(map(int, found[1].split(".")))
    raise AssertionError(f"the extra serve does not ask for {package}")


def test_generated_anew_they_are_the_same(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools generates the stubs")
    generate(tmp_path)
    for name in NAMES:
        fresh, shipped = (without_versions((folder / name).read_text()) for folder in (tmp_path, HOME))
        assert fresh == shipped, f"{name} is not that of pageann.proto; run `make stubs`"


def test_they_need_no_newer_runtime_than_is_asked_for() -> None:
    messages = (HOME / "pageann_pb2.py").read_text()
    found = re.search(r"# Protobuf Python Version: ([\d.]+)", messages)
    assert found
    assert tuple(map(int, found[1].split("."))) <= floor_of("protobuf")
    services = (HOME / "pageann_pb2_grpc.py").read_text()
    found = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", services)
    assert found
    assert tuple(map(int, found[1].split(".")[:2])) <= floor_of("grpcio")
