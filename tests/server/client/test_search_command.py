"""``pageann search --server`` prints what it prints of an index on the disk; its mistakes are one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.cli.main import ENVIRONMENT, main
from pageann.cli.parsing import USER_MISTAKE
from pageann.server.keys import hashed_line
from tests.library.samples import Sample
from tests.server.certificates import Authority
from tests.server.serving import ServerThread, served

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """(exit code, stdout, stderr) of ``pageann search`` with these arguments."""

    def search(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(["search", *map(str, arguments)])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return search


@pytest.fixture
def queries(sample: Sample, tmp_path: Path) -> Path:
    """A file of the sample's queries."""
    np.save(tmp_path / "queries.npy", sample.queries)
    return tmp_path / "queries.npy"


@pytest.mark.parametrize(
    "options",
    [("--k", 3), ("--effort", 40, "--limit", 7), ("--exact",), ("--radius", 25.0, "--effort", 40)],
    ids=lambda options: options[0],
)
def test_the_same_output(run: Run, server: ServerThread, sample: Sample, queries: Path, options: Any) -> None:
    code, here, _ = run(sample.path, "--queries", queries, *options)
    assert code == 0
    code, there, said = run("--server", server.address, "--queries", queries, *options)
    assert code == 0
    assert there == here != ""
    assert "queries; a query took" in said


def test_ids_into_a_file(
    run: Run, server: ServerThread, sample: Sample, queries: Path, tmp_path: Path
) -> None:
    files = [tmp_path / "here.npy", tmp_path / "there.npy"]
    for source, file in zip(
        ((sample.path,), ("--server", server.address, "--index", "sample")), files, strict=True
    ):
        assert run(*source, "--queries", queries, "--output-ids", file)[0] == 0
    np.testing.assert_array_equal(*map(np.load, files))


def test_keys_and_tls(run: Run, sample: Sample, queries: Path, tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "root.pem").write_bytes(authority.pem)
    certificate, private = authority.pair("127.0.0.1").write(tmp_path, "server")
    (tmp_path / "key").write_text("k" * 32 + "\n")
    keys = (hashed_line("reader", "read", "k" * 32),)
    settings = {"tls_certificate_file": certificate, "tls_key_file": private, "keys": keys}
    with served(sample.path, **settings) as server:
        asked = ("--server", server.address, "--queries", queries, "--tls-ca", tmp_path / "root.pem")
        assert run(*asked, "--api-key-file", tmp_path / "key")[0] == 0
        code, out, said = run(*asked)
    assert (code, out) == (USER_MISTAKE, "")
    assert "needs a key" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give its folder, or a service with --server"),
        (("some.pageann", "--server", "x:1"), "INDEX"),
        (("--server", "x:1", "--memory", "1MiB"), "--memory"),
        (("--server", "x:1", "--threads", "2"), "--threads"),
        (("--server", "x:1", "--io", "threads"), "--io"),
        (("some.pageann", "--index", "a"), "--index takes --server"),
        (("some.pageann", "--api-key-file", "key"), "--api-key-file takes --server"),
        (("--server", "x:1", "--api-key-file", "nowhere"), "nowhere: cannot be read"),
        (("--server", "x:1", "--tls-ca", "nowhere"), "nowhere cannot be read"),
    ],
)
def test_mistakes(run: Run, queries: Path, arguments: Any, words: str) -> None:
    code, out, said = run(*arguments, "--queries", queries)
    assert (code, out) == (USER_MISTAKE, "")
    assert words in said
    assert said.startswith("pageann: error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("content", ["", "two words", "schlüssel"])
def test_a_file_without_a_key(run: Run, queries: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content, encoding="utf-8")
    code, _, said = run("--server", "x:1", "--queries", queries, "--api-key-file", tmp_path / "key")
    assert code == USER_MISTAKE
    assert "holds no key" in said
    assert not content or content not in said


def test_nobody_is_there(run: Run, queries: Path) -> None:
    code, out, said = run("--server", "127.0.0.1:1", "--queries", queries)
    assert (code, out) == (ENVIRONMENT, "")
    assert said.startswith("pageann: error: 127.0.0.1:1: unavailable")
    assert said.count("\n") == 1
