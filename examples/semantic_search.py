"""Search texts by meaning: ``python examples/semantic_search.py "what happens when the power fails"``.

Three kinds of texts:

- none given: the paragraphs of this repository's own documentation;
- ``--texts FILE``: one text a line;
- ``--data FOLDER``: ``base_texts.txt``, one text a line, and ``base.npy`` (or another vector file), one
  embedding a text, from the model that ``--model`` names.

Without embeddings of your own, texts are embedded here by latent semantic analysis (TF-IDF and a truncated
SVD), which needs no model to be downloaded. With ``--data``, queries in words need the package
sentence-transformers and the model; without it, ask with the vector of a text: ``--row 7``. The index is kept
beside the data and built again when the vectors are others.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.datasets.source import SUFFIXES, open_vectors

ROOT = Path(__file__).parents[1]
LSA_DIMENSIONS = 128
LEAST_CHARACTERS = 60
SHOWN_CHARACTERS = 160

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Library:
    """Texts, a vector for each, and how to embed a query; None where there is no way."""

    texts: list[str]
    vectors: Any
    embed: Embed | None


def main() -> None:
    """Open the texts, build the index if there is none yet, answer."""
    arguments = _arguments()
    library = _library(arguments)
    if not _is_current(arguments.index, library):
        print(f"Indexing {len(library.texts):,} texts into {arguments.index}", file=sys.stderr)
        pageann.build(library.vectors, arguments.index, metric="cosine", memory=arguments.memory)
    with pageann.open(arguments.index) as index:
        for title, query in _queries(arguments, library, index):
            _answer(index, library.texts, title, query, arguments.k)


def _is_current(path: Path, library: Library) -> bool:
    """Whether there is an index of these vectors: of as many, and the same at both ends."""
    vectors = open_vectors(library.vectors).mapped(None)
    try:
        with pageann.open(path) as index:
            ends = [0, len(vectors) - 1]
            return index.rows == len(vectors) and np.array_equal(index.get(ends), vectors[ends])
    except pageann.IndexNotFound:
        return False


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="what to look for; each argument is a query")
    parser.add_argument(
        "--row", type=int, action="append", default=[], help="look for what is like this text"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--texts", type=Path, help="a file with one text a line")
    source.add_argument("--data", type=Path, help="a folder with base_texts.txt and base.npy")
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="model of the embeddings in --data")
    parser.add_argument("--index", type=Path, help="where the index is kept")
    parser.add_argument("--memory", help="its memory budget, such as 10%% or 64MiB (default: 30%%)")
    parser.add_argument("--k", type=int, default=5, help="answers to a query (default: 5)")
    arguments = parser.parse_args()
    if not arguments.words and not arguments.row:
        parser.error("say what to look for, in words or by --row")
    if arguments.index is None:
        place = arguments.data or (arguments.texts.parent if arguments.texts else Path("demo-data"))
        name = arguments.texts.stem if arguments.texts else "semantic-search"
        arguments.index = place / f"{name}.pageann"
    arguments.index.parent.mkdir(parents=True, exist_ok=True)
    return arguments


def _library(arguments: argparse.Namespace) -> Library:
    if arguments.data is not None:
        return _embedded_library(arguments.data, arguments.model)
    texts = _lines(arguments.texts) if arguments.texts is not None else _own_paragraphs()
    embed = _latent_semantics(texts)
    return Library(texts, embed(texts), embed)


def _embedded_library(folder: Path, model: str) -> Library:
    """Texts with vectors that a model made."""
    files = [folder / f"base{suffix}" for suffix in SUFFIXES]
    found = next((file for file in files if file.exists()), None)
    if found is None or not (folder / "base_texts.txt").exists():
        sys.exit(f"{folder}: needs base_texts.txt and base.npy (or another vector file)")
    texts, vectors = _lines(folder / "base_texts.txt"), open_vectors(found)
    if vectors.rows != len(texts):
        sys.exit(f"{folder}: {len(texts):,} texts, but {vectors.rows:,} vectors in {found.name}")
    return Library(texts, vectors, _model(model, vectors.dim))


def _model(name: str, dim: int) -> Embed | None:
    """The model of the embeddings, loaded when words are first asked for; None without its package."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(name)
        except (OSError, ValueError) as error:
            sys.exit(f"the model {name} cannot be loaded: {error}")
        vectors = np.asarray(model.encode(list(texts)), np.float32)
        if vectors.shape[1] != dim:
            sys.exit(
                f"{name} makes vectors of {vectors.shape[1]} dimensions, the data has {dim}; use --model"
            )
        return vectors

    return embed


def _latent_semantics(texts: Sequence[str]) -> Embed:
    """An embedding learned from the texts themselves."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    weigh = TfidfVectorizer(sublinear_tf=True, stop_words="english", max_features=50_000)
    counts = weigh.fit_transform(texts)
    dimensions = max(1, min(LSA_DIMENSIONS, counts.shape[1] - 1, counts.shape[0] - 1))
    reduce = TruncatedSVD(dimensions, random_state=0).fit(counts)

    def embed(asked: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.asarray(reduce.transform(weigh.transform(asked)), np.float32)
        vectors[~vectors.any(axis=1), 0] = 1e-6  # a text of stop words has no direction
        return vectors

    return embed


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _own_paragraphs() -> list[str]:
    """Paragraphs of the README and the documentation, code left out."""
    paragraphs = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        pieces = (" ".join(piece.split()) for piece in prose.split("\n\n"))
        paragraphs += [f"{page.name}: {piece}" for piece in pieces if len(piece) >= LEAST_CHARACTERS]
    return paragraphs


def _queries(
    arguments: argparse.Namespace, library: Library, index: pageann.Index
) -> list[tuple[str, NDArray[Any]]]:
    if arguments.words and library.embed is None:
        sys.exit("queries in words need the model: pip install sentence-transformers; or ask by --row")
    queries = []
    if arguments.words and library.embed is not None:
        queries += list(zip(arguments.words, library.embed(arguments.words), strict=True))
    for row in arguments.row:
        if not 0 <= row < len(library.texts):
            sys.exit(f"--row {row}: there are texts 0 to {len(library.texts) - 1:,}")
        queries.append((f"like text {row}: {_short(library.texts[row])}", index.get([row])[0]))
    return queries


def _answer(index: pageann.Index, texts: Sequence[str], title: str, query: NDArray[Any], k: int) -> None:
    found = index.search(query, k)
    assert found.stats is not None
    print(f"\n{title}")
    for name, distance in zip(found.ids[0], found.distances[0], strict=True):
        if name >= 0:
            print(f"  {1 - distance:.3f}  {_short(texts[name])}")
    print(f"  ({int(found.stats.reads[0])} page reads, {index.ledger.total / (1 << 20):.1f} MiB in memory)")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


if __name__ == "__main__":
    main()
