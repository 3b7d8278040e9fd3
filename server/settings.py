"""Settings from a TOML file, the environment (``PAGEANN_*``) and flags, each over the one before.

Every option has one name: ``rate_per_second`` in the file, ``PAGEANN_RATE_PER_SECOND`` in the
environment, ``--rate-per-second`` as a flag.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from pageann.errors import InvalidArgument
from pageann.server.config import IndexConfig, ServerConfig, parse_index
from pageann.types import parse_bytes

__all__ = ["ENVIRONMENT_PREFIX", "config_of_dict", "read_config", "shown"]

ENVIRONMENT_PREFIX = "PAGEANN_"

_TYPES = get_type_hints(ServerConfig)
_NAMES = tuple(each.name for each in fields(ServerConfig))
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")
_SEPARATORS = re.compile(r"[,\n]")


def read_config(file: str | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> ServerConfig:
    """The settings of a server. ``flags`` holds only options that were given.

    Raises InvalidArgument, naming the option and where it stands.
    """
    values: dict[str, Any] = {}
    chosen = file if file is not None else environment.get(ENVIRONMENT_PREFIX + "CONFIG")
    if chosen:
        values.update(_of_file(Path(chosen)))
    for name in _NAMES:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variable in environment:
            values[name] = _value(name, environment[variable], variable)
    for name, given in flags.items():
        values[name] = _value(name, given, "--" + name.replace("_", "-"))
    return ServerConfig(**values)


def config_of_dict(plain: Mapping[str, Any]) -> ServerConfig:
    """The settings that :meth:`ServerConfig.to_dict` wrote."""
    return ServerConfig(**{name: _value(name, value, name) for name, value in plain.items()})


def _of_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be read: {error.strerror}; check --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path}: is not TOML: {error}") from None
    for name in table:
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, 1)
            remedy = f"did you mean {near[0]}?" if near else "see docs/operations.md"
            raise InvalidArgument(f"{path}: there is no option {name!r}; {remedy}")
    return {name: _value(name, value, f"{path}: {name}") for name, value in table.items()}


def _value(name: str, value: Any, where: str) -> Any:
    """``value``, as text or already typed, as the option's type."""
    if name == "indexes":
        return _indexes(value, where)
    kind = _TYPES[name]
    if kind is bool:
        return _boolean(value, where)
    if kind is int and name.endswith("_bytes"):
        return _size(value, where)
    if kind in (int, float):
        return _number(value, kind, where)
    if kind is str:
        return _text(value, where)
    return tuple(_text(each, where) for each in _list(value, where))


def _indexes(value: Any, where: str) -> tuple[IndexConfig, ...]:
    """A list of ``[NAME=]PATH``, or tables by name."""
    if isinstance(value, Mapping):
        return tuple(_index_of_table(name, table, where) for name, table in value.items())
    return tuple(
        _index_of_table(each.get("name"), each, where)
        if isinstance(each, Mapping)
        else parse_index(_text(each, where))
        for each in _list(value, where)
    )


def _index_of_table(name: Any, table: Any, where: str) -> IndexConfig:
    known = {"name", "path", "memory"}
    if not isinstance(table, Mapping) or "path" not in table or set(table) - known:
        raise InvalidArgument(f"{where}: index {name}: give it a path, and a memory if need be")
    memory = _text(table.get("memory", ""), where)
    return IndexConfig(_text(name, where), Path(_text(table["path"], where)), memory)


def _list(value: Any, where: str) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in _SEPARATORS.split(value) if part.strip()]
    if isinstance(value, (list, tuple)):
        return list(value)
    raise InvalidArgument(f"{where}={value!r}: give a list")


def _boolean(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE + _FALSE:
        return value.strip().lower() in _TRUE
    raise InvalidArgument(f"{where}={value!r}: give true or false")


def _size(value: Any, where: str) -> int:
    size = parse_bytes(value, option=where)
    if size.share:
        raise InvalidArgument(f"{where}={value!r}: give bytes, such as 16MiB, not a share")
    return size.bytes


def _number(value: Any, kind: type, where: str) -> Any:
    if isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            pass
        else:
            if isinstance(value, str) or number == value:
                return number
    raise InvalidArgument(f"{where}={value!r}: give a {'whole ' if kind is int else ''}number")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, (str, Path)):
        raise InvalidArgument(f"{where}={value!r}: give a text")
    return str(value)


def shown(config: ServerConfig) -> str:
    """The settings as a TOML file that can be used again, but for its secrets, which are hidden."""
    plain = config.to_dict()
    indexes = plain.pop("indexes")
    plain["keys"] = [_hidden(line) for line in plain["keys"]]
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in plain.items()]
    for index in indexes:
        lines += ["", f"[indexes.{json.dumps(index['name'])}]", f"path = {json.dumps(index['path'])}"]
        if index["memory"]:
            lines.append(f"memory = {json.dumps(index['memory'])}")
    return "\n".join(lines)


def _hidden(line: str) -> str:
    """A line of keys without its hash, nor what may stand there by mistake."""
    words = line.split()
    return " ".join([*words[:2], "***"]) if len(words) == 3 else "***"
