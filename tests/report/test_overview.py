"""The overview: who is ranked where, what is drawn on which range, and what a run lacks."""

import math

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.scores import Metric, score_table, with_headline
from corpuscle.report.drawing.bar_figures import bar_figure
from corpuscle.report.page.render import render
from corpuscle.report.sections.bar_table import Axis, bar
from corpuscle.report.sections.heatmaps import Layout, sheets
from corpuscle.report.sections.overview import incomplete, overview, sentences
from corpuscle.statistics.comparisons import summarise
from corpuscle.statistics.pairs import all_pairs, ties_with_best

F1 = Metric("f1", "F1", "What <it> says.", "higher", "share")
ERROR = Metric("error", "Error", "What it says.", "lower", "positive")
NO_FITS = pd.DataFrame({"corpus": [], "model": [], "seed": [], "seconds": []})


def scores_of(values, metric=F1, *, model="m", target="blood", task="t"):
    """Score rows: values of each corpus, seed by seed."""
    return pd.concat(
        score_table(
            with_headline([metric.score("all", value, 10)]),
            corpus=corpus, seed=seed, model=model, task=task, target=target,
        )
        for corpus, found in values.items()
        for seed, value in enumerate(found)
    )  # fmt: skip


def ranking(scores, fits=NO_FITS, corpora=("A", "B", "C")):
    layout = Layout("A", corpora, list(scores["target"].unique()))
    summary = summarise(scores, "A")
    summary["ties_best"] = ties_with_best(summary, all_pairs(scores, corpora))
    return overview(sheets(summary, layout), layout, fits)


def marks(table):
    return {row.name: [bar.mark for cell in row.cells for bar in cell.bars] for row in table.rows}


NARROW = {"A": [0.50, 0.51, 0.49], "B": [0.700, 0.711, 0.689], "C": [0.602, 0.609, 0.590]}
TIED = {"A": [0.50, 0.51, 0.49], "B": [0.700, 0.711, 0.689], "C": [0.69, 0.72, 0.66]}


def test_the_best_corpus_stands_first_and_what_cannot_be_told_from_it_is_tied():
    assert marks(ranking(scores_of(NARROW))) == {"B": ["best"], "C": [""], "A": [""]}
    table = ranking(scores_of(TIED))
    assert marks(table) == {"B": ["best"], "C": ["tied"], "A": [""]}
    assert [row.before for row in table.rows] == [[("1 of 1", 1.0)], [("1 of 1", 1.0)], [("0 of 1", 0.0)]]
    assert "cannot be distinguished from the best" in table.rows[1].cells[0].bars[0].words


def test_of_equals_the_better_mean_stands_first():
    worse = {"A": [0.50, 0.51, 0.49], "B": [0.60, 0.62, 0.58], "C": [0.602, 0.605, 0.61], "D": [0.9, 0.9, 0.91]}
    table = ranking(scores_of(worse), corpora=("A", "B", "C", "D"))
    assert [row.name for row in table.rows] == ["D", "C", "B", "A"]


def test_where_low_is_better_the_lowest_is_best_and_blue():
    table = ranking(scores_of(NARROW, ERROR))
    assert marks(table)["A"] == ["best"]
    assert table.columns[0].better == "lower"
    assert {row.name: row.cells[0].bars[0].tone for row in table.rows} == {"A": "neutral", "B": "warm", "C": "warm"}


def test_a_change_is_coloured_only_where_its_interval_leaves_out_none():
    table = ranking(scores_of({"A": [0.5, 0.6, 0.4], "B": [0.7, 0.81, 0.6], "C": [0.6, 0.5, 0.5]}))
    assert {row.name: row.cells[0].bars[0].tone for row in table.rows} == {
        "A": "neutral",
        "B": "cool",
        "C": "neutral",
    }


def test_a_metric_of_which_neither_way_is_better_ranks_nothing():
    table = ranking(scores_of(NARROW, Metric("n", "N", "", "none", "positive")))
    assert table.before == []
    assert [row.name for row in table.rows] == ["A", "B", "C"]
    assert {bar.tone for row in table.rows for bar in row.cells[0].bars} == {"neutral"}


def test_bars_are_on_the_metrics_own_range_whatever_is_compared():
    whole, part = ranking(scores_of(NARROW)), ranking(scores_of({"A": [0.50, 0.51, 0.49]}), corpora=("A",))
    of_a = [row.cells[0].bars[0] for table in (whole, part) for row in table.rows if row.name == "A"]
    assert of_a[0].at == of_a[1].at == pytest.approx(0.5)
    assert of_a[0].start == 0
    assert [part.split(":")[0] for part in of_a[0].style.split(";")] == ["--s", "--w", "--m", "--l", "--i"]


@pytest.mark.parametrize("scale", ["share", "correlation", "positive", "real"])
@pytest.mark.parametrize("values", [[0.2, 0.4], [-0.3, 0.9], [0.0], [-812.5, -640.0], [1e-9, 3e-9], [1e9, math.nan]])
def test_every_value_that_a_scale_can_have_is_on_its_axis(scale, values):
    axis = Axis.of(scale, values)
    assert axis.low < axis.high
    within = [value for value in values if math.isfinite(value)]
    if scale == "real":
        assert axis.low <= min(within) <= max(within) <= axis.high
    assert all(0 <= axis.place(value) <= 1 for value in within)
    assert math.isnan(axis.place(math.nan))


def test_a_value_without_an_interval_has_none_drawn():
    found = bar(pd.Series({"mean": 0.5, "low": math.nan, "high": math.nan}), Axis(0, 1), "m")
    assert not found.has_interval
    assert "--l" not in found.style
    assert found.words == "m: 0.500"
    lacking = bar(pd.Series({"mean": math.nan, "low": math.nan, "high": math.nan}), Axis(0, 1), "m")
    assert (lacking.value, lacking.is_known) == ("n/a", False)


def test_models_share_a_cell_and_a_missing_one_keeps_its_place():
    scores = pd.concat([scores_of(NARROW), scores_of({"A": [0.3, 0.2], "C": [0.2, 0.2]}, model="n")])
    table = ranking(scores)
    assert table.models == ["m", "n"]
    of_b = next(row for row in table.rows if row.name == "B")
    assert [bar.value for bar in of_b.cells[0].bars] == ["0.700", "n/a"]
    assert of_b.cells[0].sort == pytest.approx(0.7)


def test_of_one_corpus_each_model_has_a_row():
    scores = pd.concat([scores_of({"A": [0.5, 0.6]}), scores_of({"A": [0.3, 0.2]}, model="n")])
    fits = pd.DataFrame([("A", "n", 0, 10.0)], columns=["corpus", "model", "seed", "seconds"])
    table = ranking(scores, fits, corpora=("A",))
    assert (table.of, table.models, table.before) == ("Model", [], [])
    assert [(row.name, row.cells[0].bars[0].value) for row in table.rows] == [("m", "0.550"), ("n", "0.250")]
    assert [row.behind[0][0] for row in table.rows] == ["n/a", "10\N{NO-BREAK SPACE}s"]
    assert [row.cells[0].sort for row in table.rows] == pytest.approx([0.55, 0.25])


def test_the_cost_is_the_mean_over_seeds_from_the_quickest_model_to_the_slowest():
    runs = [("A", "m", 0, 10.0), ("A", "m", 1, 20.0), ("A", "n", 0, 240.0), ("B", "m", 0, math.nan)]
    fits = pd.DataFrame(runs, columns=["corpus", "model", "seed", "seconds"])
    table = ranking(scores_of(NARROW), fits)
    costs = {row.name: row.behind for row in table.rows}
    assert costs["A"] == [("15\N{NO-BREAK SPACE}s–4.0\N{NO-BREAK SPACE}min", 255.0)]
    assert costs["B"][0][0] == "n/a"
    assert ranking(scores_of(NARROW)).behind == []


def test_the_figure_has_a_bar_for_every_value_and_its_words():
    table = ranking(pd.concat([scores_of(NARROW), scores_of(TIED, target="gut")]))
    drawn = bar_figure(table, "Overview", "", "overview", pd.DataFrame()).drawing.render()
    for row in table.rows:
        for cell in row.cells:
            assert cell.bars[0].words in drawn


def test_no_more_than_five_sentences_come_first():
    from corpuscle.report.sections.findings import TaskFindings

    found = [TaskFindings(f"Metric {at}", f"Sentence {at}.", []) for at in range(7)]
    assert len(sentences(found)) == 5
    assert sentences(found)[0] == ("Metric 0", "Sentence 0.")
    assert sentences(found[:1]) == [("", "Sentence 0.")]


def test_what_a_run_lacks_is_counted():
    scores = scores_of(NARROW)
    assert incomplete(scores, [], ["A", "B", "C"], 3) == []
    (said,) = incomplete(scores[scores["corpus"] != "C"], [], ["A", "B", "C"], 3)
    assert "Of 9 runs (corpora × models × seeds), 6 have scores" in said
    failed, lacking = incomplete(scores[scores["seed"] < 2], [{"corpus": "A"}], ["A", "B", "C"], 3)
    assert failed.startswith("1 run failed")
    assert "Of 9 runs" in lacking
    assert incomplete(scores.iloc[:0], [], ["A"], 3) == []


def test_the_page_says_at_its_top_what_it_lacks(make_run):
    folder = make_run(seeds=2, n_genes=12, corpora=("Blood", "Lung"), targets=("blood",))
    scores = pd.read_parquet(folder / "scores.parquet")
    scores[~((scores["corpus"] == "Lung") & (scores["seed"] == 1))].to_parquet(folder / "scores.parquet")
    page = render(folder).read_text(encoding="utf-8")
    assert page.index("Of 4 runs (corpora × models × seeds), 3 have scores") < page.index('id="overview"')


def test_a_page_of_one_corpus_compares_none_and_shows_its_models(make_run):
    page = render(make_run(seeds=2, n_genes=12, corpora=("Blood",), targets=("blood",))).read_text(encoding="utf-8")
    assert page.count("Blood is the only corpus, so no corpora are compared.") == 1


def test_the_overview_stands_before_what_is_folded(make_run):
    folder = make_run(seeds=2, n_genes=12, corpora=("Blood", "Lung"), targets=("blood",))
    page = render(folder).read_text(encoding="utf-8")
    assert "Incomplete" not in page
    assert page.index('class="bars sortable"') < page.index('id="scores"')
    details = page[page.index('id="scores"') : page.index('id="corpora"')]
    assert details.index("<details") < details.index('class="heat"')
    table = pd.read_csv(folder / "figures" / "overview.csv")
    assert set(table["corpus"]) == {"Blood", "Lung"}
    assert np.isfinite(table["mean"]).all()
