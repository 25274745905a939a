"""The parts of the report on their own: names of files, drawings, numbers and colours."""

import ast
import inspect
import math
import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

import colour_vision
import corpuscle.report
from corpuscle.core.components import find, names
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


@pytest.mark.parametrize("vision", colour_vision.VISIONS)
def test_categories_are_told_apart_by_all_eyes(vision: str) -> None:
    pairs = combinations([*svg.CATEGORIES, svg.OTHER], 2)
    nearest = min((colour_vision.difference(*pair, vision), pair) for pair in pairs)
    assert nearest[0] >= 10, nearest


@pytest.mark.parametrize("vision", colour_vision.VISIONS)
def test_better_worse_and_neither_are_told_apart_by_all_eyes(vision: str) -> None:
    for colours in ([svg.THEME[tone] for tone in ("cool", "warm", "neutral")], _dark("cool", "warm", "neutral")):
        assert min(colour_vision.difference(*pair, vision) for pair in combinations(colours, 2)) >= 10


def test_no_other_colour_looks_like_better_or_worse() -> None:
    tones = [svg.THEME["cool"], svg.THEME["warm"], *_dark("cool", "warm")]
    others = [
        *svg.CATEGORIES,
        svg.OTHER,
        *(colour for name, colour in svg.THEME.items() if name not in ("cool", "warm")),
    ]
    assert min(colour_vision.difference(one, other) for one in tones for other in others) >= 10


def test_the_oracle_of_colours_gives_the_published_differences() -> None:
    # Sharma, Wu & Dalal 2005, table 1: pairs 1, 9, 16, 20 and 34.
    for one, other, published in (
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425), ((50, -1, 2), (50, 0, 0), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492), ((50, 2.5, 0), (50, 3.1736, 0.5854), 1.0),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ):  # fmt: skip
        assert colour_vision.ciede2000(one, other) == pytest.approx(published, abs=5e-5)


def _dark(*names: str) -> list[str]:
    """Colours of the page's dark ground."""
    style = (Path(inspect.getfile(corpuscle.report)).parent / "page" / "page.css").read_text(encoding="utf-8")
    dark = style.split("prefers-color-scheme: dark")[1]
    return [re.search(rf"--{name}: (#[0-9a-f]{{6}})", dark)[1] for name in names]  # type: ignore[index]


def test_blue_and_orange_mean_better_and_worse_and_nothing_else() -> None:
    """Only comparisons name these colours: `toned`, and `GeneCell`, `Bar` and `Cell`, which it is given to."""
    folder = Path(inspect.getfile(corpuscle.report)).parent
    naming = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in ("cool", "warm")
    }
    assert naming == {
        "drawing/mixture_figures.py", "drawing/svg.py", "sections/bar_table.py", "sections/gene_residuals.py",
        "sections/heatmaps.py", "sections/overview.py",
    }  # fmt: skip


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
    known = {metric.name for name in names(Task) for metric in find(Task, name).metrics}
    known |= {metric.name for measure in built_ins() for metric in measure.metrics} | {"hill", "rarefaction"}
    folder = Path(inspect.getfile(corpuscle.report)).parent
    found = {
        node.value
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    # Columns of the tables of fits and of gene sets, and of the scorecard of mixtures.
    assert known & found == {"r2_log", "nes", "rank_correlation", "coverage"}
