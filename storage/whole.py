"""Small files that are written whole."""

from __future__ import annotations

from pathlib import Path

from pageann.errors import DamagedIndex
from pageann.storage.checksum import crc32c
from pageann.storage.files import Files, storage_errors
from pageann.storage.manifest import FileEntry

__all__ = ["read_listed", "replace_whole", "write_whole"]


def write_whole(files: Files, path: Path, data: bytes) -> tuple[int, int]:
    """Write and sync a file; (bytes, CRC32C) of it."""
    file = files.create(path)
    try:
        file.write(data)
        file.sync()
    finally:
        file.close()
    return len(data), crc32c(data)


def replace_whole(files: Files, path: Path, data: bytes) -> None:
    """Give ``path`` the content ``data`` in one step that survives a loss of power.

    After a crash the file is the old one or the new one.
    """
    temporary = path.with_name(path.name + ".tmp")
    write_whole(files, temporary, data)
    files.rename(temporary, path)
    files.sync_directory(path.parent)


def read_listed(path: Path, entry: FileEntry) -> bytes:
    """The content of a small file, which must be what the manifest lists: else DamagedIndex."""
    with storage_errors("read", path):
        data = path.read_bytes()
    if (len(data), crc32c(data)) != (entry.bytes, entry.crc32c):
        raise DamagedIndex(f"{path}: does not match its checksum; rebuild the index", str(path))
    return data
