"""The report is one HTML file that a browser renders, and says what was measured.

Guarded: a report that needs the network, that breaks on a name with a bracket, whose plots are empty or
that leaves out what went badly.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from pageann.bench.compared import at_recall, comparison_table
from pageann.bench.page import html_report, write_html
from pageann.bench.plots import COLOURS, Axis, Bars, Point, Series, bar_plot, line_plot
from pageann.bench.spreadsheet import write_csv
from tests.bench.figures_sample import comparison_of, figures_of, peer_run, run_of

RUNS = (run_of("30%", 20, 0.93, 900.0), run_of("30%", 40, 0.98, 500.0), run_of("10%", 60, 0.94, 300.0))
VOID = {"meta", "br"}


class Balance(HTMLParser):
    """Follows opening and closing tags, and collects addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_well_formed_and_needs_nothing_else() -> None:
    page = Balance()
    page.feed(html_report(figures_of(*RUNS)))
    assert page.open == []
    assert page.addresses == []
    assert not {"script", "link", "img", "iframe"} & page.tags


def test_page_says_what_was_measured() -> None:
    text = html_report(figures_of(*RUNS))
    assert "Processor &lt;&amp;&gt;" in text
    assert "Processor <" not in text
    for words in ("30%, 1 client, effort 20", "0.9300", "0.9200 to 0.9400", "1,234", "1.12 x the vectors"):
        assert words in text
    assert text.count("<svg") == 8


def test_a_warning_stands_first() -> None:
    figures = figures_of({**RUNS[0], "warnings": ["recall 0.99 was never reached"]})
    figures["device_probe"] = {**figures["device_probe"], "direct_io": False}
    text = html_report(figures)
    assert text.index("Do not quote them") < text.index("Machine, device")
    assert text.index("never reached") < text.index("Machine, device")


def test_marks_stand_where_their_values_are() -> None:
    series = [
        Series("a", (Point(0.9, 100.0, "first"), Point(0.95, 10.0, "second"), Point(1.0, 1.0, "third")))
    ]
    root = ElementTree.fromstring(line_plot(series, Axis("recall"), Axis("q/s", log=True)))
    marks = root.findall(".//{*}circle")
    assert [mark.find("../{*}title") is None for mark in marks] == [True] * 3
    x, y = (np.array([float(mark.get(name) or 0) for mark in marks]) for name in ("cx", "cy"))
    assert np.diff(x) == pytest.approx([x[1] - x[0]] * 2, abs=0.2)
    assert np.diff(y) == pytest.approx([y[1] - y[0]] * 2, abs=0.2)  # factors of ten are equal steps
    assert y[0] < y[2]


@pytest.mark.parametrize("values", [(0.0,), (5.0, 5.0), (1e-3, 1e6), (0.99, 1.0), (-3.0, 3.0)])
def test_any_values_make_a_plot(values: tuple[float, ...]) -> None:
    points = tuple(Point(value, value, "") for value in values)
    log = min(values) > 0
    root = ElementTree.fromstring(line_plot([Series("a", points)], Axis("x", log), Axis("y", log)))
    assert len(root.findall(".//{*}circle")) == len(values)
    assert len(root.findall(".//{*}line")) >= 2


def test_bars_are_as_long_as_their_values() -> None:
    root = ElementTree.fromstring(bar_plot([Bars("one", (("a", 10.0), ("b", 5.0)))], "x", str))
    widths = [float(bar.get("width") or 0) for bar in root.findall(".//{*}rect")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)


def test_colours_differ() -> None:
    assert len(set(COLOURS)) == len(COLOURS)


def test_csv_has_a_line_a_run(tmp_path: Path) -> None:
    figures = {**figures_of(*RUNS), "comparison": comparison_of(faiss=[peer_run(0.95, 100.0)])}
    write_csv(figures, str(tmp_path / "runs.csv"))
    rows = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert [row["recall"] for row in rows] == ["0.93", "0.98", "0.94", "0.95"]
    assert rows[0]["latency_us.p99"] == "1234.0"
    assert (rows[0]["recall_ci.low"], rows[3]["system"]) == ("0.92", "compared: faiss")


def test_figures_at_a_recall_lie_between_those_of_its_neighbours() -> None:
    runs = [peer_run(0.98, 100.0), peer_run(0.90, 300.0)]
    found = at_recall(runs, 0.94)
    assert found is not None
    assert found["qps"] == pytest.approx(200)
    assert at_recall(runs, 0.99) is None
    assert at_recall(runs, 0.5) == at_recall([runs[1]], 0.5)


def test_figures_at_another_recall_say_so() -> None:
    figures = comparison_of(pageann=[peer_run(0.94, 90.0), peer_run(0.96, 80.0)], sure=[peer_run(0.98, 70.0)])
    table = comparison_table(figures, 0.95)
    assert "sure (at 0.980, its least)" in table
    assert "pageann (" not in table


def test_the_comparison_says_where_we_lose() -> None:
    ours = [peer_run(0.9, 100.0, kib=20.0), peer_run(0.99, 50.0, kib=30.0)]
    theirs = [peer_run(0.9, 900.0), peer_run(0.99, 800.0)]
    figures = figures_of(*RUNS)
    figures["comparison"] = comparison_of(pageann=ours, fast=theirs, short=[peer_run(0.8, 50.0)], gone=[])
    text = html_report(figures)
    assert "queries/s: 2, KiB from disk: 1, CPU us: 2" in text
    assert "short (reached 0.800)" in text
    assert "(at" not in text
    assert "not run: not installed" in text
    assert "gone: not run: not installed" in comparison_table(figures["comparison"])


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed to render the page")
    return found


@pytest.mark.slow
def test_a_browser_renders_it(tmp_path: Path) -> None:
    program = browser()
    figures = {
        **figures_of(*RUNS),
        "comparison": comparison_of(pageann=[peer_run(0.9, 9.0), peer_run(0.99, 5.0)]),
    }
    write_html(figures, str(tmp_path / "report.html"))
    picture = tmp_path / "report.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,2000"]
    places = [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}"]
    command = [program, *options, *places, (tmp_path / "report.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=90)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 60_000  # a white page of this size takes about 10 KB
