"""Tables and plot of a file of results."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.chart import Bar, Panel, svg
from benchmarks.dnsperf import Run
from benchmarks.figures import Found, Row, Start
from benchmarks.results import ratio
from benchmarks.tables import markdown

_SVG = "{http://www.w3.org/2000/svg}"
MACHINE = {"cpu": "Some CPU", "cores": 2, "load": 0.1, "kernel": "6.1", "python": "3.11.2"}
MACHINE |= {"date": "2026-11-21", "dnsmasq": "2.90", "commit": 40 * "a" + " + changes"}


def run(cpu_us: float, *, waits: tuple[float, ...] = ()) -> Run:
    return Run(1000, 0, 100.0, cpu_us, {"NOERROR": 1000}, waits)


def results(**more: object) -> dict[str, Any]:
    found = Found()
    for server, cpu in (("C echo", 4.0), ("pydns", 5.0), ("dnsmasq", 10.0)):
        found.rows += [
            Row("names", "hot", 10_000, server, runs=[run(cpu), run(cpu), run(9 * cpu)]),
            Row("names", "hot", 10_000, server, 5_000, runs=[run(cpu, waits=(0.001, 0.002))]),
        ]
    found.rows.append(Row("names", "hot", 10_000, "nsd", faults=["answered with SERVFAIL 3"]))
    found.starts.append(Start(10_000, "pydns", 0.25, 30.0))
    found.left_out["dockerd"] = "not installed"
    told = {"machine": MACHINE, "options": {"rounds": 3, "seconds": 1.0}, **found.as_json(), **more}
    whole: dict[str, Any] = json.loads(json.dumps(told))
    return whole


def test_tables_have_figures_ratios_and_what_was_left_out() -> None:
    text = markdown(results())
    assert "| pydns | 5.00, 100 |" in text
    assert "| the limit (C echo) | 1.25 |" in text
    assert "| dnsmasq | 0.50 |" in text
    assert "| pydns | 5.0; 1,000, 2,000, 2,000; 0 |" in text
    assert "| nsd | invalid: answered with SERVFAIL 3 |" in text
    assert "| pydns | 0.25 s, 30 MiB |" in text
    assert "- dockerd: not installed" in text
    assert "commit aaaaaaaaaaaa + changes; dnsmasq 2.90. 3 rounds of 1 s, medians." in text


def test_a_row_with_a_wrong_answer_has_no_figure() -> None:
    row = Row("names", "hot", 10, "nsd")
    row.add(run(1.0), None)
    row.add(run(1.0), "answered with SERVFAIL 3")
    told = row.as_json()
    assert told["faults"] == ["answered with SERVFAIL 3"]
    assert "cpu_us" not in told
    assert Row("names", "hot", 10, "nsd").as_json()["faults"]


def test_who_loses_queries_at_full_speed_has_no_figure() -> None:
    full, rated = Row("names", "hot", 10, "nsd"), Row("names", "hot", 10, "nsd", 5_000)
    for row in (full, rated):
        row.add(Run(1000, 11, 100.0, 1.0, {"NOERROR": 1000}), None)
    assert full.faults == ["11 of 1011 lost"]
    assert rated.as_json()["lost"] == 11


def test_ratios_are_of_rounds_and_of_valid_rows_only() -> None:
    ours = {"cpu_us_by_round": [1.0, 2.0, 30.0]}
    theirs = {"cpu_us_by_round": [2.0, 2.0, 10.0]}
    assert ratio(ours, theirs) == 1.0
    assert ratio(ours, theirs | {"faults": ["x"]}) is None
    assert ratio(ours, None) is None


def test_a_later_file_adds_to_the_first() -> None:
    other = results()
    other["rows"] = [row | {"size": 1_000_000} for row in other["rows"]]
    other["rows"].append(results()["rows"][0] | {"cpu_us": 1.0})
    merged = report.merged([results(), other])
    limit = [row for row in merged["rows"] if (row["server"], row["size"]) == ("C echo", 10_000)]
    assert [(row["rate"], row["cpu_us"]) for row in limit] == [(0, 1.0), (5_000, 4.0)]
    assert {row["size"] for row in merged["rows"]} == {10_000, 1_000_000}
    assert len(merged["starts"]) == 1


def test_the_page_keeps_what_is_around_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / report.PAGE
    page.write_text(f"# Title\n{report.BEGIN}\nold\n{report.END}\nrest\n")
    found = tmp_path / "found.json"
    found.write_text(json.dumps(results()))
    monkeypatch.setattr("sys.argv", ["report", str(found), "--docs", str(tmp_path)])
    assert report.main() == 0
    text = page.read_text()
    assert text.startswith(f"# Title\n{report.BEGIN}\n")
    assert text.endswith(f"{report.END}\nrest\n")
    assert "old" not in text
    once = text, (tmp_path / report.PLOT).read_text()
    assert report.main() == 0
    assert (page.read_text(), (tmp_path / report.PLOT).read_text()) == once


@pytest.mark.parametrize("content", ["[]", "{}", "no json"])
def test_a_file_that_is_none_of_ours_is_told(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "found.json"
    found.write_text(content)
    monkeypatch.setattr("sys.argv", ["report", str(found), "--docs", str(tmp_path)])
    assert report.main() == 2
    assert str(found) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [found]


def test_bars_are_as_long_as_their_values() -> None:
    bars = [Bar("pydns <&>", 5.0, "ours"), Bar("dnsmasq", 10.0), Bar("nobody", 0.0)]
    root = ET.fromstring(svg("A title", "a note", [Panel("hot", bars), Panel("none", []), Panel("cold", bars[:1])]))
    long = [float(rect.get("width", "")) for rect in root.iter(f"{_SVG}rect") if rect.get("class") != "ground"]
    assert long[0] == pytest.approx(long[1] / 2)
    assert long[2] == 0
    assert long[3] == long[1]
    texts = ["".join(text.itertext()) for text in root.iter(f"{_SVG}text")]
    assert {"A title", "a note", "hot", "pydns <&>", "5.00", "10.00"} <= set(texts)
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    for rect in root.iter(f"{_SVG}rect"):
        assert float(rect.get("x", "0")) + float(rect.get("width", "")) <= width
        assert float(rect.get("y", "0")) + float(rect.get("height", "")) <= height


def test_a_bar_far_beyond_the_rest_is_cut_and_says_so() -> None:
    drawn = svg("", "", [Panel("hot", [Bar("a", 5.0), Bar("b", 6.0), Bar("c", 900.0)])])
    long = [float(rect.get("width", "")) for rect in ET.fromstring(drawn).iter(f"{_SVG}rect")][1:]
    assert long[0] == pytest.approx(long[2] * 5 / 24, abs=0.1)
    assert ">… 900.00<" in drawn
    assert ">6.00<" in drawn


def test_the_plot_has_the_cheapest_first_and_nobody_who_was_wrong() -> None:
    (panel,) = (panel for panel in report.panels(results()) if panel.bars)
    assert [bar.label for bar in panel.bars] == ["C echo", "pydns", "dnsmasq"]
    assert panel.bars[1].kind == "ours"


def test_the_page_in_docs_has_its_marks() -> None:
    page = Path(report.__file__).parents[1] / "docs" / report.PAGE
    assert "new" in report.placed(page.read_text(), "new")
