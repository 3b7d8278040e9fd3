"""Writes the tables of ``docs/grpc.md`` anew: ``python -m tests.reference.protocol_page``.

Each table stands between two comments that name it.
"""

from __future__ import annotations

import re
from pathlib import Path

from pageann import errors
from pageann.wire.statuses import STATUSES
from tests.reference.stubs import HOME

__all__ = ["PAGE", "fresh"]

PAGE = Path(__file__).parents[2] / "docs" / "grpc.md"
_FIELD = re.compile(r"(repeated |optional )?([\w.]+) (\w+) = (\d+);")
_RPC = re.compile(r"rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\);")
_VALUE = re.compile(r"(\w+) = (\d+);")


def fresh(page: str) -> str:
    """``page`` with every table made anew."""
    tables = {"methods": _methods(), "messages": _messages(), "statuses": _statuses()}
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        page, found = re.subn(
            pattern, lambda match, table=table: f"{match[1]}{table}\n{match[2]}", page, flags=re.DOTALL
        )
        assert found == 1, f"the page has no place for {name}"
    return page


def _methods() -> str:
    rows = ["| method | takes | gives | |", "|---|---|---|---|"]
    for said, (name, many, request, several, response) in _commented(
        _block("service", "SearchService"), _RPC
    ):
        takes, gives = (
            f"{'stream of ' if many else ''}{request}",
            f"{'stream of ' if several else ''}{response}",
        )
        rows.append(f"| `{name}` | {takes} | {gives} | {said} |")
    return "\n".join(rows)


def _messages() -> str:
    text = (HOME / "pageann.proto").read_text(encoding="utf-8")
    parts = []
    for said, kind, name in re.findall(r"((?:^//.*\n)*)^(enum|message) (\w+) \{", text, re.MULTILINE):
        parts.append(f"**{name}**{_sentence(said)}\n")
        body = _block(kind, name)
        if kind == "enum":
            parts.append(
                ", ".join(f"`{value}` {number}" for _, (value, number) in _commented(body, _VALUE)) + "\n"
            )
        else:
            parts.append(_fields(body))
    return "\n".join(parts)


def _fields(body: str) -> str:
    rows = []
    for said, (label, kind, name, number) in _commented(body, _FIELD):
        rows.append(f"| {number} | `{name}` | {label}{kind} | {said} |")
    return "\n".join(["| | field | type | |", "|---|---|---|---|", *rows]) + "\n" if rows else "No fields.\n"


def _block(kind: str, name: str) -> str:
    text = (HOME / "pageann.proto").read_text(encoding="utf-8")
    found = re.search(rf"^{kind} {name} \{{(\}}|\n.*?^\}})", text, re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1]


def _commented(body: str, pattern: re.Pattern[str]) -> list[tuple[str, tuple[str, ...]]]:
    """(comment above it, groups) of every line like ``pattern``; that of a oneof is its first field's."""
    found, comment = [], ""
    for line in map(str.strip, body.splitlines()):
        if line.startswith("//"):
            comment = f"{comment} {line.removeprefix('//').strip()}".strip()
        elif match := pattern.match(line):
            found.append((comment, tuple(group or "" for group in match.groups())))
            comment = ""
    return found


def _sentence(comments: str) -> str:
    text = " ".join(line.removeprefix("//").strip() for line in comments.splitlines())
    return f": {text}" if text else ""


def _statuses() -> str:
    rows = ["| status | reason | raised by clients as | |", "|---|---|---|---|"]
    listed = sorted(STATUSES.items(), key=lambda each: (each[1].code.value[0], each[0].code))
    for kind, mapped in listed:
        said = (kind.__doc__ or "").split("\n")[0].split("; ")[0].rstrip(".").replace("``", "`")
        name = "PageANNError" if kind is errors.PageANNError else kind.__name__
        rows.append(f"| {mapped.code.name} | `{kind.code}` | `{name}` | {said} |")
    return "\n".join(rows)


if __name__ == "__main__":
    PAGE.write_text(fresh(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
