"""A kernel that is compiled again in every process costs a user seconds before each first answer.

Guarded: what defeats the disk cache (a function or a ctypes pointer inside a kernel); a package folder
that is read-only, a home that cannot be written, a user without a home; and code that changed without
the cache's name changing.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pageann.jit
from tests.reference.installed_copy import ROOT, copy_package, declared_packages

FEW_KERNELS = """
import json, sys
import numpy as np
from pageann.index.kernels import ranking, vectors
from pageann.storage.checksum import crc32c
from pageann import jit

keys, ranked = np.array([3, 1, 2], np.float32), np.empty(3, np.float32)
values, bins = np.empty(3, np.int32), np.empty(ranking.BINS, np.int32)
ranking.rank_smallest(keys, 3, 3, bins, ranked, values)
product = vectors.dot(np.array([1, 2], np.uint8), np.array([3, 4], np.float32))
stats = [kernel.stats for kernel in (ranking.rank_smallest, vectors.dot)]
print(json.dumps({
    "answers": [values.tolist(), float(product), crc32c(b"123456789")],
    "hits": sum(sum(stat.cache_hits.values()) for stat in stats),
    "misses": sum(sum(stat.cache_misses.values()) for stat in stats),
    "folder": str(jit.cache_folder()),
    "package": jit.__file__,
}))
"""
ANSWERS = [[1, 2, 0], 11.0, 0xE3069283]
CACHE_VARIABLES = (
    "PAGEANN_CACHE_DIR",
    "XDG_CACHE_HOME",
    "HOME",
    "TMPDIR",
    "PYTHONPATH",
    "PAGEANN_PLAIN_KERNELS",
)


def run(arguments: list[str], cwd: Path, **variables: str) -> tuple[dict[str, Any], str]:
    """What a Python program printed, and what it said on stderr."""
    environment = {name: value for name, value in os.environ.items() if name not in CACHE_VARIABLES}
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1", **variables},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def read_only_copy(tmp_path: Path) -> Iterator[Path]:
    """The package as installed, where nothing can be written (as root: nothing may be)."""
    folder = tmp_path / "site"
    copy_package(folder)
    everything = [folder, *folder.rglob("*")]
    before = sorted(str(path) for path in everything)
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    after = sorted(str(path) for path in [folder, *folder.rglob("*")])
    for path in everything:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert after == before, "nothing is written beside the sources"


@pytest.mark.parametrize("home", ["/dev/null", "relative"])
def test_read_only_package_and_no_home_to_write_to(read_only_copy: Path, tmp_path: Path, home: str) -> None:
    """The temporary folder serves, and the next process finds what is there."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    for number in range(2):
        found, talk = run(
            ["-c", FEW_KERNELS], temporary, HOME=home, TMPDIR=str(temporary), PYTHONPATH=str(read_only_copy)
        )
        assert found["answers"] == ANSWERS
        assert found["package"].startswith(str(read_only_copy))
        assert Path(found["folder"]).parent == temporary / f"pageann-cache-{os.getuid()}"
        assert (found["misses"] > 0) == (number == 0)
        assert (found["hits"] > 0) == (number == 1)
        assert ("compiling" in talk) == (number == 0)
    assert [path.name for path in temporary.iterdir()] == [f"pageann-cache-{os.getuid()}"]
    mode = (temporary / f"pageann-cache-{os.getuid()}").stat().st_mode
    assert mode & 0o077 == 0, "others neither read nor plant compiled code"


def test_the_first_folder_that_can_be_written_is_taken(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    places = {"PAGEANN_CACHE_DIR": "own", "XDG_CACHE_HOME": "xdg", "HOME": "home", "TMPDIR": "tmp"}
    (tmp_path / "tmp").mkdir()
    program = "import json; from pageann import jit; print(json.dumps(str(jit.cache_folder())))"
    expected = [
        tmp_path / "own",
        tmp_path / "xdg" / "pageann",
        tmp_path / "home" / ".cache" / "pageann",
        tmp_path / "tmp" / f"pageann-cache-{os.getuid()}",
    ]
    variables = {name: str(tmp_path / place) for name, place in places.items()}
    for place, name in zip(expected, places, strict=True):
        found, _ = run(["-c", program], ROOT, **variables)
        assert Path(str(found)).parent == place
        variables[name] = str(blocked)


def test_another_users_folder_in_the_temporary_folder_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns it could swap compiled code under it."""
    monkeypatch.delenv("PAGEANN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = os.getuid()
    planted = tmp_path / f"pageann-cache-{own}"
    planted.mkdir()
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result([*found[:4], own + 1, *found[5:10]]) if path == planted else found

    monkeypatch.setattr(Path, "stat", stat)
    folder = pageann.jit.cache_folder.__wrapped__()
    assert planted not in folder.parents
    assert folder.parent == tmp_path
    assert real(folder).st_mode & 0o077 == 0


def test_every_kernel_source_decides_the_name_of_the_cache() -> None:
    hashed = {path.resolve() for path in pageann.jit._kernel_sources()}
    for folder in declared_packages().values():
        for path in folder.glob("*.py"):
            if re.search(r"^\s*@kernel\b", path.read_text(encoding="utf-8"), re.MULTILINE):
                assert path.resolve() in hashed, path


def test_kernels_use_nothing_that_is_not_hashed() -> None:
    """A constant from elsewhere would be frozen into machine code that outlives it."""
    allowed = re.compile(r"pageann\.(index\.kernels|storage|jit)\b")
    for path in (ROOT / "index" / "kernels").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pageann"):
                assert allowed.match(node.module), f"{path.name}: {node.module}"


@pytest.mark.parametrize("changed", ["index/kernels/vectors.py", "storage/format.py", "jit.py"])
def test_a_changed_source_gets_a_new_folder(tmp_path: Path, changed: str) -> None:
    package = copy_package(tmp_path / "site")
    program = "import json; from pageann import jit; print(json.dumps(jit.source_stamp()))"
    before, _ = run(["-c", program], tmp_path, PYTHONPATH=str(tmp_path / "site"))
    again, _ = run(["-c", program], tmp_path, PYTHONPATH=str(tmp_path / "site"))
    with (package / changed).open("a", encoding="utf-8") as source:
        source.write("\nADDED = 1\n")
    after, _ = run(["-c", program], tmp_path, PYTHONPATH=str(tmp_path / "site"))
    plain, _ = run(["-c", program], tmp_path, PYTHONPATH=str(tmp_path / "site"), PAGEANN_PLAIN_KERNELS="1")
    assert before == again
    assert len({str(before), str(after), str(plain)}) == 3


@pytest.mark.slow
def test_a_second_process_compiles_no_kernel_of_building_and_searching(tmp_path: Path) -> None:
    runs = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        arguments = ["-m", "tests.reference.kernel_exercise", str(folder), "uint8", "l2", "float32", "cosine"]
        runs.append(run(arguments, ROOT, PAGEANN_CACHE_DIR=str(tmp_path / "cache")))
    (first, first_talk), (second, second_talk) = runs
    assert first["misses"] > 15, "the first process was to start from an empty cache"
    assert first_talk.count("compiling") == 1
    assert second["misses"] == 0
    assert second["hits"] > 10
    assert second_talk == ""
    assert second["results"] == first["results"]


@pytest.mark.slow
def test_plain_kernels_give_the_same_files_and_answers(tmp_path: Path) -> None:
    """Without vector instructions: on other processors an index is the same."""
    found = {}
    for plain in ("0", "1"):
        (tmp_path / plain).mkdir()
        arguments = [
            "-m",
            "tests.reference.kernel_exercise",
            str(tmp_path / plain),
            "uint8",
            "l2",
            "float16",
            "ip",
        ]
        found[plain], _ = run(
            arguments, ROOT, PAGEANN_PLAIN_KERNELS=plain, HOME=os.path.expanduser("~"),
            PAGEANN_CACHE_DIR=os.environ.get("PAGEANN_CACHE_DIR", ""),
        )  # fmt: skip
    assert not found["1"]["shuffles"]
    assert found["0"]["results"] == found["1"]["results"]
    assert set(found["0"]["results"]) == {"uint8-l2", "float16-ip"}
