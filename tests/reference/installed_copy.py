"""The package laid out as an installation lays it out, without installing it."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def declared_packages() -> dict[str, Path]:
    """Folder of each package that ``pyproject.toml`` installs, by the package's name."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    mapping: dict[str, str] = setuptools["package-dir"]
    return {name: _folder(name, mapping) for name in setuptools["packages"]}


def _folder(name: str, mapping: dict[str, str]) -> Path:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        mapped = mapping.get(".".join(parts[:length]))
        if mapped is not None:
            return ROOT.joinpath(mapped, *parts[length:])
    raise AssertionError(f"no folder is declared for {name}")


def copy_package(target: Path) -> Path:
    """Copy the package into ``target``; returns its folder there."""
    for name, folder in declared_packages().items():
        place = target.joinpath(*name.split("."))
        place.mkdir(parents=True, exist_ok=True)
        for file in [*folder.glob("*.py"), *folder.glob("py.typed")]:
            shutil.copy(file, place / file.name)
    return target / "pageann"
