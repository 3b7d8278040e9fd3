"""What is installed is one package, complete, with a public face that is named in one place.

Guarded: a new folder of code that works in the checkout and is missing after ``pip install``; a name in
``__all__`` that does not exist; an ``import pageann`` that drags in Numba, faiss or scikit-learn.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pageann
from tests.reference.installed_copy import ROOT, copy_package, declared_packages

CODE_FOLDERS = ("pageann", "index", "storage", "datasets", "server")


def test_every_folder_of_code_is_installed() -> None:
    with_code = {file.parent for name in CODE_FOLDERS for file in (ROOT / name).rglob("*.py")}
    assert with_code == set(declared_packages().values())


def test_public_names_are_sorted_and_there() -> None:
    assert list(pageann.__all__) == sorted(set(pageann.__all__))
    assert [name for name in pageann.__all__ if getattr(pageann, name, None) is None] == []
    assert set(pageann.__all__) <= set(dir(pageann))


def test_public_names_include_every_error() -> None:
    from pageann import errors

    assert set(errors.__all__) <= set(pageann.__all__)


def test_other_names_are_refused_as_usual() -> None:
    assert not hasattr(pageann, "no_such_name")


def test_import_is_cheap() -> None:
    program = (
        "import sys; import pageann; pageann.PageANNError; pageann.SearchResult;"
        " print(sorted({'numba', 'llvmlite', 'faiss', 'sklearn', 'rich', 'pageann.api'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_nothing_but_the_package_is_at_the_top(tmp_path: Path) -> None:
    copy_package(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pageann"]


def test_installed_layout_is_complete_by_itself(tmp_path: Path) -> None:
    copy_package(tmp_path)
    program = (
        "import pageann.bench.run, pageann.cli.main, pageann.datasets.source, pageann.storage, sys;"
        " print({module.__file__.startswith(sys.argv[1]) for name, module in sys.modules.items()"
        " if name.split('.')[0] == 'pageann'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout == "{True}\n"


def test_type_information_is_installed(tmp_path: Path) -> None:
    assert (copy_package(tmp_path) / "py.typed").exists()
