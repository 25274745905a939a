"""Plots: axes in and out, with the report's numbers, order and colours."""

import importlib.util
from pathlib import Path

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from corpuscle import plot
from corpuscle.core.errors import InputError
from corpuscle.report.drawing.svg import THEME
from corpuscle.statistics.comparisons import summarise

# The made-up run of the report's tests.
_SPEC = importlib.util.spec_from_file_location("made_up_run", Path(__file__).parents[1] / "report" / "conftest.py")
CORPORA = ("Blood", "Blood+Pancreas", "No-Monocyte")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import sys

    made_up = importlib.util.module_from_spec(_SPEC)
    sys.modules["made_up_run"] = made_up
    _SPEC.loader.exec_module(made_up)
    fake = made_up.Fake(corpora=CORPORA, seeds=3, n_genes=12, targets=("blood", "pancreas", "monocytes"), units={})
    return made_up.write_run(tmp_path_factory.mktemp("plots") / "run", fake)


@pytest.fixture
def ax():
    return Figure().subplots()


def summary(run):
    scores = pd.read_parquet(run / "scores.parquet")
    table = summarise(scores[(scores["unit"] == "all") & (scores["metric"] == "r2_log")], "Blood")
    return table[table["target"] == "pancreas"].set_index("corpus").loc[list(CORPORA)]


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_scores_are_bars_on_the_metrics_own_range_in_the_reports_colours(run, ax):
    assert plot.scores(run, task="reconstruction", target="pancreas", ax=ax) is ax
    assert names(ax) == list(CORPORA)
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], summary(run)["mean"])
    tones = [matplotlib.colors.to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert tones == [THEME["neutral"], THEME["cool"], THEME["neutral"]]
    assert ax.get_xlim() == (0, 1)
    assert [text.get_text() for text in ax.texts] == ["★"]
    assert ax.get_xlabel() == "R² (log)"


def test_effects_have_the_summarys_changes_and_intervals(run, ax):
    plot.effects(run, task="reconstruction", target="pancreas", ax=ax)
    table = summary(run).iloc[1:]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([line.get_xdata()[0] for line in points], table["difference"])
    intervals = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"][
        1:
    ]
    np.testing.assert_allclose(np.array(intervals), table[["difference_low", "difference_high"]])
    assert ax.get_xlabel() == "R² (log): difference against Blood"


def test_the_overview_ranks_as_the_page_does(run, ax):
    plot.overview(run, ax=ax)
    page = (plot.corpora.opened(run), names(ax))
    assert set(page[1]) == set(CORPORA)
    assert page[1][0] == "Blood+Pancreas"
    heads = [label.get_text().split("\n")[1] for label in ax.get_xticklabels()]
    assert heads == ["blood", "pancreas", "monocytes"]


def test_composition_stacks_to_the_sizes_of_the_corpora(run, ax):
    plot.composition(run, ax=ax)
    table = pd.read_parquet(run / "composition.parquet")
    sizes = table[table["column"] == "cell_type"].groupby("corpus")["n_cells"].sum() / 3
    drawn = [container.patches for container in ax.containers]
    np.testing.assert_allclose(sum(np.array([bar.get_width() for bar in bars]) for bars in drawn), sizes[list(CORPORA)])


def test_new_axes_where_none_are_given(run):
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    axes = plot.composition(run, column="tissue")
    assert axes.get_xlabel() == "cells by tissue"
    pyplot.close(axes.figure)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda run: plot.scores(run, task="reconstruction"), "target: .* 'blood', 'pancreas', 'monocytes'; none"),
        (lambda run: plot.effects(run, task="t"), "task: expected one of 'reconstruction'; not 't'"),
        (lambda run: plot.composition(run, column="age"), "column: expected one of the labels"),
    ],
    ids=["several", "unknown", "not recorded"],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(run, draw, message):
    with pytest.raises(InputError, match=message):
        draw(run)
