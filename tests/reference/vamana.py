"""A plain Vamana graph, to hold the builder's neighbour lists against.

Two passes over the points in random order: a greedy search from the medoid finds candidates, a robust
prune keeps up to R of them, back edges are added and pruned when a list overflows (Subramanya et al.,
DiskANN, NeurIPS 2019). One thread, everything in memory, squared Euclidean distances.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["vamana_graph"]

_SLACK = 1.3
"""How far back edges may overfill a list before it is pruned, as DiskANN allows."""


@numba.njit(fastmath=True)
def _distance(a: Any, b: Any) -> Any:
    total = np.float32(0)
    for i in range(a.shape[0]):
        step = a[i] - b[i]
        total += step * step
    return total


@numba.njit
def _greedy(points: Any, graph: Any, degrees: Any, start: Any, target: Any, width: Any, seen: Any, mark: Any,
            ids: Any, gaps: Any, done: Any, visited: Any, visited_gaps: Any) -> Any:  # fmt: skip
    """Expand the nearest of ``width`` kept candidates until all are; returns how many were visited."""
    ids[0], gaps[0], done[0] = start, _distance(points[start], points[target]), False
    seen[start] = mark
    kept, expanded = 1, 0
    while True:
        at = -1
        for i in range(kept):
            if not done[i]:
                at = i
                break
        if at < 0 or expanded == visited.shape[0]:
            return expanded
        done[at] = True
        node = ids[at]
        visited[expanded], visited_gaps[expanded] = node, gaps[at]
        expanded += 1
        for j in range(degrees[node]):
            other = graph[node, j]
            if seen[other] == mark:
                continue
            seen[other] = mark
            gap = _distance(points[other], points[target])
            if kept == width and gap >= gaps[kept - 1]:
                continue
            place = kept if kept < width else kept - 1
            kept = min(kept + 1, width)
            while place > 0 and gaps[place - 1] > gap:
                ids[place], gaps[place], done[place] = ids[place - 1], gaps[place - 1], done[place - 1]
                place -= 1
            ids[place], gaps[place], done[place] = other, gap, False


@numba.njit
def _prune(points: Any, node: Any, candidates: Any, gaps: Any, count: Any, alpha: Any, degree: Any,
           out: Any) -> Any:  # fmt: skip
    """Keep up to ``degree`` candidates, none much nearer to a kept one than to ``node``; returns how many."""
    order = np.argsort(gaps[:count], kind="mergesort")
    gone = np.zeros(count, np.bool_)
    kept = 0
    for i in range(count):
        a = order[i]
        if gone[a] or candidates[a] == node:
            continue
        out[kept] = candidates[a]
        kept += 1
        if kept == degree:
            break
        for j in range(i + 1, count):
            b = order[j]
            if not gone[b]:
                between = _distance(points[candidates[a]], points[candidates[b]])
                if candidates[a] == candidates[b] or alpha * alpha * between <= gaps[b]:
                    gone[b] = True
    return kept


@numba.njit
def _pass(points: Any, graph: Any, degrees: Any, start: Any, order: Any, alpha: Any, degree: Any,
          width: Any) -> None:  # fmt: skip
    count, room = graph.shape
    seen = np.zeros(count, np.int32)
    ids, gaps, done = np.empty(width, np.int32), np.empty(width, np.float32), np.empty(width, np.bool_)
    found = np.empty(4 * width + room, np.int32)
    found_gaps = np.empty(4 * width + room, np.float32)
    kept = np.empty(degree, np.int32)
    for turn in range(count):
        node = order[turn]
        visited = _greedy(
            points, graph, degrees, start, node, width, seen, turn + 1, ids, gaps, done,
            found[: 4 * width], found_gaps[: 4 * width],
        )  # fmt: skip
        for j in range(degrees[node]):
            found[visited] = graph[node, j]
            found_gaps[visited] = _distance(points[node], points[graph[node, j]])
            visited += 1
        held = _prune(points, node, found, found_gaps, visited, alpha, degree, kept)
        graph[node, :held] = kept[:held]
        degrees[node] = held
        for j in range(held):
            other = kept[j]
            known = False
            for i in range(degrees[other]):
                known = known or graph[other, i] == node
            if known:
                continue
            graph[other, degrees[other]] = node
            degrees[other] += 1
            if degrees[other] == room:
                _shorten(points, graph, degrees, other, alpha, degree)


@numba.njit
def _shorten(points: Any, graph: Any, degrees: Any, node: Any, alpha: Any, degree: Any) -> None:
    """Prune the list of one node to ``degree``."""
    count = degrees[node]
    gaps = np.empty(count, np.float32)
    for i in range(count):
        gaps[i] = _distance(points[node], points[graph[node, i]])
    kept = np.empty(degree, np.int32)
    held = _prune(points, node, graph[node, :count].copy(), gaps, count, alpha, degree, kept)
    graph[node, :held] = kept[:held]
    degrees[node] = held


@numba.njit
def _finish(points: Any, graph: Any, degrees: Any, alpha: Any, degree: Any, out: Any) -> None:
    """Lists of at most ``degree``, nearest first."""
    for node in range(graph.shape[0]):
        if degrees[node] > degree:
            _shorten(points, graph, degrees, node, alpha, degree)
        count = degrees[node]
        gaps = np.empty(count, np.float32)
        for i in range(count):
            gaps[i] = _distance(points[node], points[graph[node, i]])
        order = np.argsort(gaps, kind="mergesort")
        for i in range(count):
            out[node, i] = graph[node, order[i]]


def vamana_graph(
    vectors: NDArray[Any], degree: int = 32, width: int = 100, alpha: float = 1.2, seed: int = 0
) -> NDArray[np.int32]:
    """Out-neighbours int32 (n, degree) of each row of ``vectors``, nearest first, -1 behind the last."""
    points = np.ascontiguousarray(vectors, np.float32)
    rng = np.random.default_rng(seed)
    graph = np.empty((len(points), int(_SLACK * degree)), np.int32)
    graph[:, :degree] = rng.integers(0, len(points), (len(points), degree))
    degrees = np.full(len(points), degree, np.int64)
    medoid = int(np.square(points - points.mean(axis=0)).sum(axis=1).argmin())
    for each in (1.0, alpha):
        _pass(points, graph, degrees, medoid, rng.permutation(len(points)), np.float32(each), degree, width)
    lists = np.full((len(points), degree), -1, np.int32)
    _finish(points, graph, degrees, np.float32(alpha), degree, lists)
    return lists
