"""The parts of the report on their own: names of files, drawings, numbers and colours."""

import ast
import inspect
import math
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

import corpuscle.report
from corpuscle.core.components import build, names
from corpuscle.evaluation.task import Task
from corpuscle.measures.measure import built_ins
from corpuscle.report import numbers
from corpuscle.report.drawing import svg
from corpuscle.report.drawing.small_multiples import WIDTH, Panels
from corpuscle.report.sections import tables


@pytest.mark.parametrize("name", ["", "...", "/", "../..", "\0", "CON", "é" * 300, "<b>", "日本"])
def test_file_stems_are_plain(name: str) -> None:
    stem = numbers.file_stem("heatmap", name)
    assert stem
    assert len(stem) <= 80
    assert set(stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_file_stems_never_repeat() -> None:
    used: set[str] = set()
    stems = [numbers.file_stem("x", name, used=used) for name in ("a/b", "a b", "a-b", "日本", "中国")]
    assert len(set(stems)) == len(stems)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_not_written_as_one(value: float) -> None:
    assert numbers.number(value) == numbers.signed(value) == "n/a"


def test_a_drawing_is_xml_whatever_is_written_in_it() -> None:
    drawing = svg.Drawing(10, 10, name="x", title="</title><script>")
    drawing.text(1, 1, "\x00<&\"'", fill="ink")
    drawing.add("rect", tip="]]>", fill='red" onload="alert(1)')
    root = ElementTree.fromstring(drawing.render())
    assert root.findtext("{*}text") == "<&\"'"
    assert not any("onload" in element.attrib for element in root.iter())


def test_theme_colours_are_written_twice() -> None:
    drawing = svg.Drawing(10, 10, name="x", title="t")
    drawing.line(0, 0, 1, 1, stroke="warm")
    assert 'class="s-warm"' in drawing.render()
    assert f'stroke="{svg.THEME["warm"]}"' in drawing.render()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.9, 0.6), (803.2, 911.7), (0, 0.0004), (0, 123456)])
def test_ticks_are_few_round_and_within(low: float, high: float) -> None:
    found = svg.ticks(low, high)
    assert 2 <= len(found) <= 7
    assert low - 1e-9 <= min(found) <= max(found) <= high + 1e-9


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 9, 20])
def test_panels_stay_on_the_drawing(count: int) -> None:
    panels = Panels(count, height=100)
    for i in range(count):
        x, y = panels.place(i)
        assert x + panels.width <= WIDTH - 20
        assert y + panels.height <= panels.total - 18


@pytest.mark.parametrize("colour", [*svg.CATEGORIES, svg.OTHER])
def test_labels_on_colours_are_legible(colour: str) -> None:
    assert _contrast(colour, svg.on_top(colour)) >= 3.5


@pytest.mark.parametrize("tone", ["cool", "warm"])
def test_the_strongest_cell_keeps_its_numbers_legible(tone: str) -> None:
    fill = svg.mix(svg.THEME[tone], svg.THEME["panel"], 0.62)
    assert _contrast(fill, svg.THEME["ink"]) >= 4.5


def _contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2.1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_quality_counts_every_reason_once() -> None:
    rows = [("s", "kept", 80), ("s", "below min_counts", 15), ("s", "doublet", 5), ("t", "kept", 0)]
    found = tables.quality(pd.DataFrame(rows, columns=["source", "reason", "n_cells"]))
    assert [(q.total, q.kept, q.share) for q in found] == [(100, 80, 0.8), (0, 0, 0.0)]
    assert found[0].dropped == [("below min_counts", 15), ("doublet", 5)]


def test_the_report_names_no_metric_and_no_curve() -> None:
    known = {metric.name for name in names(Task) for metric in build(Task, name, {}).metrics}
    known |= {metric.name for measure in built_ins() for metric in measure.metrics} | {"hill", "rarefaction"}
    folder = Path(inspect.getfile(corpuscle.report)).parent
    found = {
        node.value
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    # A column of the table of fits, which is about fits and not about scores.
    assert known & found == {"r2_log"}
