"""The semantic search example runs, finds what is meant, and says what is missing.

Guarded: an example that worked once; an index of yesterday's texts behind today's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "semantic_search.py"
SUBJECTS = {
    "cooking": ["soup", "bread", "oven", "butter", "flour", "kitchen", "recipe"],
    "sailing": ["boat", "harbour", "sail", "wind", "anchor", "mast", "captain"],
    "music": ["violin", "orchestra", "melody", "piano", "concert", "rhythm", "singer"],
}
MODEL = """
import numpy as np
class SentenceTransformer:
    def __init__(self, name):
        self.dim = int(name)
    def encode(self, texts):
        return np.stack([np.roll(np.eye(self.dim)[0], len(text) % self.dim) for text in texts])
"""


def run(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path) if path else ""}
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """300 texts on three subjects."""
    random = np.random.default_rng(0)
    lines = [
        f"{' '.join(random.choice(words, 4, replace=False))} number{row}"
        for row, words in zip(range(300), list(SUBJECTS.values()) * 100, strict=False)
    ]
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "texts.txt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """400 texts whose vectors a model made."""
    np.save(tmp_path / "base.npy", np.random.default_rng(1).standard_normal((400, 16)).astype(np.float32))
    (tmp_path / "base_texts.txt").write_text("\n".join(f"text {row}" for row in range(400)), encoding="utf-8")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "sentence_transformers.py").write_text(MODEL)
    return tmp_path


def test_words_find_their_subject(texts: Path) -> None:
    done = run("--texts", texts, "violin and piano", "harbour with boats", "--k", 4)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().split("\n\n")
    assert all(any(word in line for word in SUBJECTS["music"]) for line in first.splitlines()[1:5])
    assert all(any(word in line for word in SUBJECTS["sailing"]) for line in second.splitlines()[1:5])
    assert "page reads" in first


@pytest.mark.slow
def test_the_index_follows_the_texts(texts: Path) -> None:
    assert "Indexing 300 texts" in run("--texts", texts, "soup").stderr
    assert "Indexing" not in run("--texts", texts, "soup").stderr
    lines = texts.read_text(encoding="utf-8").splitlines()
    texts.write_text("\n".join(lines[::-1]) + "\n", encoding="utf-8")
    assert "Indexing 300 texts" in run("--texts", texts, "soup").stderr


def test_rows_need_no_model(folder: Path) -> None:
    done = run("--data", folder, "--row", 7)
    assert done.returncode == 0, done.stderr
    assert "1.000  text 7\n" in done.stdout


def test_words_with_a_model(folder: Path) -> None:
    done = run("--data", folder, "--model", 16, "a query", path=folder / "modules")
    assert done.returncode == 0, done.stderr
    base = np.load(folder / "base.npy")
    nearest = int(np.argmax(base[:, len("a query")] / np.linalg.norm(base, axis=1)))
    assert done.stdout.splitlines()[2].endswith(f"  text {nearest}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "{}", "--row", "400"], "texts 0 to 399"),
        (["--data", "{}", "--model", "none", "a query"], "the model none cannot be loaded"),
        (["--data", "{}", "--model", "8", "a query"], "8 dimensions, the data has 16"),
        (["--data", "{}/modules", "--row", "1"], "needs base_texts.txt"),
        (["--data", "{}"], "say what to look for"),
    ],
)
def test_mistakes_are_told(folder: Path, arguments: list[str], words: str) -> None:
    done = run(*(each.format(folder) for each in arguments), path=folder / "modules")
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_words_without_a_model(folder: Path) -> None:
    done = run("--data", folder, "a query")
    if done.returncode == 0:
        pytest.skip("the model is installed")
    assert "pip install sentence-transformers" in done.stderr
