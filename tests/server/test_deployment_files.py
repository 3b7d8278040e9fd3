"""Documents and deployment files name options, metrics and paths that exist."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from pageann.cli.main import program_parser
from pageann.server.config import ServerConfig
from pageann.server.gate import Gate
from pageann.server.metrics import IndexFigures, Metrics
from pageann.server.settings import read_config
from tests.reference.installed_copy import ROOT

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
METRIC = re.compile(r"pageann_[a-z_]+")


def default_of(name: str) -> str:
    """How the table shows the default of an option."""
    value = getattr(ServerConfig(), name)
    if value is False:
        return "off"
    if value in ("", ()):
        return "none"
    if name.endswith("_bytes"):
        return f"`{value >> 20}MiB`"
    return f"`{value:.10g}`" if isinstance(value, (int, float)) else f"`{value}`"


def test_the_table_has_every_option_with_its_default() -> None:
    found = re.findall(r"^\| `(\w+)` \| (\S+) \|", OPERATIONS, re.MULTILINE)
    assert found == [(each.name, default_of(each.name)) for each in fields(ServerConfig)]


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", OPERATIONS, re.DOTALL)
    file = tmp_path / "server.toml"
    file.write_text(text)
    config = read_config(str(file), {}, {})
    assert config.has_tls
    assert config.has_keys
    assert set(tomllib.loads(text)) <= {each.name for each in fields(ServerConfig)}


def known_metrics() -> set[str]:
    """Names of all samples and families, as a scrape brings them."""
    metrics, gate = Metrics(), Gate(1, 1)
    metrics.watch_gates(gate, gate, lambda: 0)
    metrics.watch_indexes(lambda: [IndexFigures("i", True, 1, 1, 1.0, 1, 1, 1, 1)])
    metrics.watch_log(lambda: 0)
    metrics.calls.count("Search", "OK", 0.1)
    metrics.count_rejection("overloaded")
    metrics.count_swap("i", "done")
    families = list(metrics.registry.collect())
    return {family.name for family in families} | {
        sample.name for family in families for sample in family.samples
    }


@pytest.mark.parametrize("file", ["docs/operations.md", "deploy/grafana.json"])
def test_metrics_that_are_named_exist(file: str) -> None:
    named = set(METRIC.findall((ROOT / file).read_text()))
    assert named
    assert named <= known_metrics()


def test_every_metric_is_in_the_document() -> None:
    metrics = {name.removesuffix("_total") for name in METRIC.findall(OPERATIONS)}
    suffixes = re.findall(r"`(_[a-z_]+)`", OPERATIONS)
    metrics |= {f"pageann_index{suffix.removesuffix('_total')}" for suffix in suffixes}
    families = {re.sub("_(total|bucket|sum|count|created)$", "", name) for name in known_metrics()}
    assert families - metrics == set()


def test_the_dashboard() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    identities = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identities)) == len(identities) >= 8
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")"), target


def test_the_unit_runs_commands_that_exist() -> None:
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "deploy" / "pageann.service")
    service = unit["Service"]
    for line in (service["ExecStartPre"], service["ExecStart"]):
        program, *arguments = shlex.split(line)
        assert program == "/opt/pageann/bin/pageann"
        program_parser().parse_args(arguments)
    assert int(service["TimeoutStopSec"]) > ServerConfig().drain_seconds + ServerConfig().notice_seconds + 10
    assert service["Environment"] == "PAGEANN_CACHE_DIR=/var/cache/" + service["CacheDirectory"]


def test_the_image_is_built_from_the_wheel_with_warm_kernels() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "COPY dist/*.whl" in text
    assert "[serve]" in text
    assert text.index("PAGEANN_CACHE_DIR") < text.index("USER pageann") < text.index("RUN pageann warmup")
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[0])
    program_parser().parse_args([*entry[1:], "--config", "x"])
    ports = {int(getattr(ServerConfig(), name).rpartition(":")[2]) for name in ("listen", "metrics_listen")}
    assert {int(port) for port in re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE)[0].split()} == ports


def test_files_that_the_document_links_to_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)", OPERATIONS):
        assert (ROOT / "docs" / link).exists(), link
