"""A program in another language, the one in ``docs/grpc.md``, calls a server and gets the library's answers.

Guarded: a protocol that only our own code can speak. The stub is made by Node.js from the protocol file.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.library.samples import Kind, Sample, build_sample
from tests.reference.stubs import HOME
from tests.server.client.page import examples
from tests.server.serving import ServerThread, served

pytestmark = pytest.mark.slow  # npm fetches two packages

PACKAGES = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1")
SECONDS = 120


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the page, in a folder with its packages."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"name": "example", "private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {PACKAGES} within {SECONDS} s")
    if done.returncode:
        pytest.skip(f"npm cannot install {PACKAGES}: {done.stderr.strip()[-300:]}")
    (example,) = examples("js")
    (folder / "search.js").write_text(example, encoding="utf-8")
    return folder / "search.js"


def run(program: Path, server: ServerThread, queries: Any, index: str = "sample", k: int = 10) -> Any:
    """What the program prints."""
    command = ["node", str(program), server.address, str(HOME / "pageann.proto"), index, str(k)]
    done = subprocess.run(
        command, input=json.dumps(queries.tolist()), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def require_same(found: list[list[list[Any]]], sample: Sample, k: int) -> None:
    with sample.open() as index:
        expected = index.search(sample.queries, k)
    names = [[name for name, _ in answer] for answer in found]
    assert names == [[str(name) for name in row] for row in expected.ids.tolist()]
    distances = np.array([[distance for _, distance in answer] for answer in found], np.float32)
    np.testing.assert_array_equal(distances, expected.distances)


def test_it_gets_the_library_s_answers(program: Path, server: ServerThread, sample: Sample) -> None:
    require_same(run(program, server, sample.queries)["found"], sample, 10)


def test_strings_are_ids_too(program: Path, tmp_path: Path) -> None:
    sample = build_sample(Kind(rows=200, ids="str"), tmp_path / "named.pageann")
    with served(sample.path) as server:
        require_same(run(program, server, sample.queries, k=3)["found"], sample, 3)


def test_it_hears_why_not(program: Path, server: ServerThread, sample: Sample) -> None:
    refused = run(program, server, sample.queries[:, :5])
    assert refused["code"] == 3
    assert "this index takes (q, 24)" in refused["details"]
    assert run(program, server, sample.queries, index="elsewhere")["code"] == 5
