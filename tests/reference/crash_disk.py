"""A model of a disk that may lose power: what is durable, and what is only pending.

It is as hostile as POSIX allows. A write is pending until that file is synced, a change of names until
that folder is synced; at a crash each pending change, whatever came before or after it, may be kept
or lost, and a pending write may also be torn or leave zeros where its data should be.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

Tree = dict[str, bytes | None]
"""A state of a disk: path -> content, None for a folder; parents come first."""

Key = tuple[int, int]
"""A pending change: (number of the file or folder, place among its pending changes)."""

KEEP, LOSE, ZERO = -1.0, -2.0, -3.0
"""Verdicts on a pending change; from 0 to 1: the share of a torn write that is kept."""

Verdicts = Callable[[Key], float]


@dataclass
class Write:
    """A pending write, or a truncation to nothing where ``offset`` is -1."""

    offset: int
    data: bytes


@dataclass
class FileNode:
    """A file: what is certain, and what is pending."""

    number: int
    durable: bytes = b""
    pending: list[Write] = field(default_factory=list)

    def content(self, verdicts: Verdicts) -> bytes:
        """The bytes after a crash."""
        data = bytearray(self.durable)
        for place, write in enumerate(self.pending):
            _apply(data, write, verdicts((self.number, place)))
        return bytes(data)


def _apply(data: bytearray, write: Write, verdict: float) -> None:
    if verdict == LOSE:
        return
    if write.offset < 0:
        data.clear()
        return
    kept = bytes(len(write.data)) if verdict == ZERO else write.data
    if verdict >= 0:
        kept = kept[: int(len(kept) * verdict)]
    data.extend(bytes(max(0, write.offset + len(kept) - len(data))))
    data[write.offset : write.offset + len(kept)] = kept


@dataclass
class FolderNode:
    """A folder: its certain entries, and pending changes, each of some names at once."""

    number: int
    durable: dict[str, FileNode | FolderNode] = field(default_factory=dict)
    pending: list[dict[str, FileNode | FolderNode | None]] = field(default_factory=list)

    def entries(self, verdicts: Verdicts) -> dict[str, FileNode | FolderNode]:
        """The entries after a crash."""
        entries: dict[str, FileNode | FolderNode | None] = dict(self.durable)
        for place, change in enumerate(self.pending):
            if verdicts((self.number, place)) != LOSE:
                entries |= change
        return {name: node for name, node in entries.items() if node is not None}


def keep_all(key: Key) -> float:
    """No crash: the state that programs see."""
    return KEEP


def read_tree(folder: Path) -> Tree:
    """The state of a real folder, links not followed."""
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        tree[path.relative_to(folder).as_posix()] = None if path.is_dir() else path.read_bytes()
    return tree


def write_tree(tree: Tree, folder: Path) -> None:
    """Bring a state onto a real, empty folder."""
    for name, content in tree.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)


class Disk:
    """The disk under one folder, which starts out durable."""

    def __init__(self, tree: Tree) -> None:
        self._numbers = itertools.count()
        self._root = FolderNode(next(self._numbers))
        self._files: dict[int, FileNode] = {}
        for name, content in tree.items():
            path = PurePosixPath(name)
            parent = self.folder(str(path.parent))
            parent.durable[path.name] = self._new_folder() if content is None else self._new_file(content)

    def _new_folder(self) -> FolderNode:
        return FolderNode(next(self._numbers))

    def _new_file(self, content: bytes = b"") -> FileNode:
        node = FileNode(next(self._numbers), content)
        self._files[node.number] = node
        return node

    def node(self, path: str) -> FileNode | FolderNode:
        """What programs see at ``path``."""
        node: FileNode | FolderNode = self._root
        for part in PurePosixPath(path).parts:
            assert isinstance(node, FolderNode), path
            node = node.entries(keep_all)[part]
        return node

    def folder(self, path: str) -> FolderNode:
        """The folder at ``path``."""
        node = self.node(path)
        assert isinstance(node, FolderNode), path
        return node

    def _change(self, path: str, node: FileNode | FolderNode | None) -> None:
        where = PurePosixPath(path)
        self.folder(str(where.parent)).pending.append({where.name: node})

    def create(self, path: str) -> int:
        """Open a file, new or emptied; its number."""
        where = PurePosixPath(path)
        existing = self.folder(str(where.parent)).entries(keep_all).get(where.name)
        if isinstance(existing, FileNode):
            existing.pending.append(Write(-1, b""))
            return existing.number
        node = self._new_file()
        self._change(path, node)
        return node.number

    def write(self, number: int, offset: int, data: bytes) -> None:
        """Write to a file by its number."""
        self._files[number].pending.append(Write(offset, data))

    def sync_handle(self, number: int) -> None:
        """Sync a file by its number."""
        node = self._files[number]
        node.durable, node.pending = node.content(keep_all), []

    def sync_file(self, path: str) -> None:
        """Sync a file by its path."""
        self.sync_handle(self.node(path).number)

    def sync_directory(self, path: str) -> None:
        """Sync the entries of a folder."""
        node = self.folder(path)
        node.durable, node.pending = node.entries(keep_all), []

    def rename(self, old: str, new: str) -> None:
        """Rename within one folder, as one change."""
        old_path, new_path = PurePosixPath(old), PurePosixPath(new)
        assert old_path.parent == new_path.parent, "a rename across folders is not one change"
        change = {old_path.name: None, new_path.name: self.node(old)}
        self.folder(str(old_path.parent)).pending.append(change)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        self._change(path, None)

    def make_directory(self, path: str) -> None:
        """Make a folder."""
        self._change(path, self._new_folder())

    def remove_directory(self, path: str) -> None:
        """Remove an empty folder."""
        self._change(path, None)

    def remove_tree(self, path: str) -> None:
        """Remove what is in a folder, name by name, and the folder."""
        for name, node in self.folder(path).entries(keep_all).items():
            if isinstance(node, FolderNode):
                self.remove_tree(f"{path}/{name}")
            else:
                self.unlink(f"{path}/{name}")
        self._change(path, None)

    def pending(self) -> list[tuple[Key, bool]]:
        """Every pending change that a crash may still bring to light, and whether it is a write."""
        found: list[tuple[Key, bool]] = []
        seen: set[int] = set()
        for node in self._reachable(self._root):
            if node.number not in seen:
                seen.add(node.number)
                is_file = isinstance(node, FileNode)
                found += [((node.number, place), is_file) for place in range(len(node.pending))]
        return found

    def _reachable(self, node: FileNode | FolderNode) -> Iterator[FileNode | FolderNode]:
        yield node
        if isinstance(node, FolderNode):
            for entries in (node.durable, *node.pending):
                for child in entries.values():
                    if child is not None:
                        yield from self._reachable(child)

    def tree(self, verdicts: Verdicts) -> Tree:
        """The state after a crash with these verdicts."""
        tree: Tree = {}
        self._collect(self._root, "", verdicts, tree)
        return tree

    def _collect(self, folder: FolderNode, prefix: str, verdicts: Verdicts, tree: Tree) -> None:
        for name, node in sorted(folder.entries(verdicts).items()):
            if isinstance(node, FolderNode):
                tree[prefix + name] = None
                self._collect(node, f"{prefix}{name}/", verdicts, tree)
            else:
                tree[prefix + name] = node.content(verdicts)
