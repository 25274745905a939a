"""A study's measures: the published ordering, rows that explain themselves, and what is not defined."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle.core.errors import MeasureError, StudyError
from corpuscle.core.scores import Metric
from corpuscle.corpus.cell_ontology import CellTypes
from corpuscle.execution import measuring
from corpuscle.execution.measuring import MEASURES, PROFILES, Measured
from corpuscle.execution.opened import Opened
from corpuscle.measures import built_ins as measures_folder
from corpuscle.measures.built_ins.vendi import Vendi
from corpuscle.measures.measure import Measure, built_ins, measure_corpus
from corpuscle.measures.table import Book
from corpuscle.measures.view import StudyView, View
from corpuscle.study.plan import Plan
from repository import ROOT

STUDY = """
name = "small"
seeds = 1
{extra}
[sources]
blood = {{ path = "{folder}/blood.h5ad" }}
[holdout]
blood = {{ by = "cell", share = 0.3 }}
[[corpora]]
name = "Half"
parts = [{{ source = "blood", n_cells = 40 }}]
[[corpora]]
name = "All"
parts = [{{ source = "blood", n_cells = 80 }}]
{corpora}
[[models]]
name = "toy:MeanProfile"
[[tasks]]
name = "reconstruction"
on = ["blood"]
"""


@pytest.fixture
def plan(write: Callable[..., Path], tmp_path: Path, counts_of: Callable[..., Any]) -> Callable[..., Any]:
    """Make a plan of one source of 130 cells, with columns of one's own."""

    def made(corpora: str = "", extra: str = "", **obs: Any) -> Any:
        donors = [f"d{at % 6}" for at in range(130)]
        write("blood", counts_of(130), obs={"donor": donors, **obs})
        text = STUDY.format(folder=tmp_path, corpora=corpora, extra=extra)
        return corpuscle.prepare(corpuscle.Study.parse(text))

    return made


def measure(plan: Plan, folder: Path | None = None) -> Measured:
    """Measure in this process, with a store in a folder that is kept or not."""
    with TemporaryDirectory() as scratch:
        return measuring.measure(plan, Opened(folder or Path(scratch)).corpora)


def one(table: pd.DataFrame, **which: Any) -> pd.Series:
    """Return the only row with these values."""
    for column, value in which.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    """Means over seeds of the example study, one column a corpus."""
    study = ROOT / "studies" / "diversity.toml"
    measures = corpuscle.describe(study).measures
    return measures.pivot_table(index=["measure", "of", "size"], columns="corpus", values="value")


def test_the_published_ordering_of_diversities(published: pd.DataFrame) -> None:
    # DenAdel et al., at 1 % (composition of 22 million cells): Shannon 7.36 re-weighted, 6.07 sketch, 5.90 random bits;
    # Gini-Simpson .994, .975, .967; Vendi 231 sketch, 134 re-weighted, 84 random.
    for index in ("shannon_bits", "shannon_nats", "inverse_simpson", "gini_simpson"):
        row = published.loc[(index, "cell_type", "own")]
        # Means of 25 seeds with standard errors: sketch 5.29 ± 0.03 (inverse Simpson) and 2.89 ± 0.01 bits, random
        # 5.23 ± 0.07 and 2.84 ± 0.02. Three seeds cannot tell these two apart.
        assert row["Re-weighted"] > max(row["Sketch"], row["Random"])
        assert min(row["Sketch"], row["Random"]) > row["Spike-in 50 %"]
    vendi = published.loc[("vendi", "components", "equal")]
    assert vendi["Sketch"] > max(vendi["Random"], vendi["Re-weighted"])


def test_types_known_to_the_ontology_are_told_apart_by_likeness(published: pd.DataFrame) -> None:
    pytest.importorskip("cellxgene_ontology_guide")
    types = published.loc[("richness", "cell_type", "own")]
    alike = published.loc[("leinster_cobbold", "cell_ontology", "own")]
    assert (alike < types).all()
    assert alike["Re-weighted"] > alike["Random"]
    mapped = published.loc[("mapped_share", "cell_ontology", "own")]
    assert mapped.round(6).to_dict() == {"Random": 1, "Re-weighted": 1, "Sketch": 1, "Spike-in 50 %": 0.5}


def test_every_row_says_what_it_is_and_why_it_is_not(plan: Callable[..., Any]) -> None:
    found = measure(plan(corpora="", donor=[""] * 130))
    measures = found.measures
    assert list(measures.columns) == list(MEASURES)
    assert list(found.profiles.columns) == list(PROFILES)
    assert not measures.duplicated(["corpus", "seed", "measure", "of", "target", "size"]).any()
    assert (measures.loc[measures["value"].isna(), "reason"] != "").all()
    assert (measures.loc[measures["low"].isna(), "reason"].str.len() > 0).all()
    assert measures["n_cells"].between(0, 80).all()
    assert np.isfinite(found.profiles["value"]).all()
    # No cell has a donor: the one label that has no diversity.
    assert (
        one(measures, corpus="All", measure="shannon_bits", of="donor", size="own").reason == "no cell has this label"
    )


def test_intervals_are_over_donors(plan: Callable[..., Any]) -> None:
    measures = measure(plan()).measures
    measures = measures[measures["corpus"] == "All"]
    for name, of in (("shannon_bits", "cell_type"), ("vendi", "components")):
        row = one(measures, measure=name, of=of, size="own")
        assert row.low < row.value < row.high
        assert row.reason == ""
    for name in ("coverage", "knn_distance", "recall", "moment_proxy"):
        rows = measures[(measures["measure"] == name) & (measures["target"] == "blood")]
        assert (rows["low"] <= rows["value"]).all()
        assert (rows["value"] <= rows["high"]).all()
    assert (
        one(measures, measure="shannon_bits", of="donor", size="own").reason == "interval: donors are what is counted"
    )


def test_equal_size_is_that_of_the_smallest_corpus(plan: Callable[..., Any]) -> None:
    measures = measure(plan()).measures
    equal = measures[measures["size"] == "equal"]
    assert (equal[equal["of"] != "cell_ontology"]["n_cells"] == 40).all()
    distance = measures[(measures["measure"] == "knn_distance")].set_index(["corpus", "size"])["value"]
    # Distances fall with the number of cells, whatever they are: at equal size they are of one kind.
    assert distance["All", "own"] < 0.97 * distance["All", "equal"]
    assert distance["All", "equal"] == pytest.approx(distance["Half", "equal"], rel=0.05)
    assert distance["Half", "own"] == distance["Half", "equal"]


def test_the_store_is_used_and_the_numbers_are_those_without(
    plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan()
    without, first = measure(planned), measure(planned, tmp_path / "store")
    monkeypatch.setattr("corpuscle.measures.view.profile", lambda *_: 1 / 0)
    monkeypatch.setattr("corpuscle.execution.artifacts.common_space", lambda *_: 1 / 0)
    again = measure(planned, tmp_path / "store")
    for name in ("measures", "profiles", "cell_types"):
        for found in (first, again):
            pd.testing.assert_frame_equal(getattr(found, name), getattr(without, name))


def test_a_cell_that_is_used_twice_counts_twice(plan: Callable[..., Any]) -> None:
    planned = plan()
    corpus = planned.corpora["Half", 0]
    twice = replace(corpus, cells=corpus.cells.assign(times=np.where(corpus.labels("cell_type") == "B", 3, 1)))
    found = measure(replace(planned, corpora={("Half", 0): twice})).measures
    n_b = int((corpus.labels("cell_type") == "B").sum())
    share = np.array([3 * n_b, 40 - n_b]) / (40 + 2 * n_b)
    assert one(found, measure="inverse_simpson", of="cell_type", size="own").value == pytest.approx(
        1 / (share**2).sum()
    )
    assert one(found, measure="vendi", size="own").n_cells == 40 + 2 * n_b


def test_tiny_corpora_and_missing_labels_are_nan_with_a_reason(plan: Callable[..., Any]) -> None:
    tiny = '[[corpora]]\nname = "Tiny"\nparts = [{ source = "blood", n_cells = 3 }]'
    found = measure(plan(corpora=tiny, cell_type=[""] * 130)).measures
    rows = found[found["corpus"] == "Tiny"]
    why = one(rows, measure="coverage", size="own").reason
    assert why == "a cell's 5 nearest other cells were asked for, but there are only 3 cells"
    assert "5 folds" in one(rows, measure="classifier_auc").reason
    assert one(rows, measure="richness", of="cell_type", size="own").reason == "no cell has this label"
    assert np.isfinite(one(rows, measure="vendi", size="own").value)
    assert one(rows, measure="gene_coverage").value > 0


def test_without_a_common_gene_what_needs_one_is_refused(
    write: Callable[..., Path], counts_of: Callable[..., Any], tmp_path: Path
) -> None:
    write("blood", counts_of(130))
    write("other", counts_of(20), genes=[f"H{at}" for at in range(30)])
    text = STUDY.format(folder=tmp_path, corpora="", extra='genes = { space = "union" }')
    text = text.replace("[holdout]", f'other = {{ path = "{tmp_path}/other.h5ad" }}\n[holdout]')
    measures = measure(corpuscle.prepare(corpuscle.Study.parse(text))).measures
    needs = measures[measures["of"].isin(["components", "genes"])]
    assert len(needs) == 2 * (4 + 9)
    assert needs["value"].isna().all()
    assert (needs["reason"] == "there is no gene that all sources measured").all()
    assert measures.loc[measures["of"] == "cell_type", "value"].notna().any()


def test_terms_come_from_the_study_file_or_a_column_of_the_data(plan: Callable[..., Any]) -> None:
    pytest.importorskip("cellxgene_ontology_guide")
    odd = [("odd", "strange")[at % 2] for at in range(130)]
    given = plan(extra='cell_types = { odd = "CL:0000236" }', cell_type=odd)
    types = measure(given).cell_types.set_index("label")
    assert types.loc["odd", ["term", "name", "by"]].tolist() == ["CL:0000236", "B cell", "given"]
    assert types.loc["strange", "term"] == ""
    column = plan(cell_type=odd, cell_type_ontology_term_id=[("CL:0000236", "CL:0000084")[at % 2] for at in range(130)])
    found = measure(column)
    assert one(found.measures, corpus="All", measure="mapped_share", size="own").value == 1
    assert set(found.cell_types["by"]) == {"id"}


def test_unknown_terms_are_told_with_their_line(plan: Callable[..., Any]) -> None:
    pytest.importorskip("cellxgene_ontology_guide")
    with pytest.raises(corpuscle.InputError) as error:
        plan(extra='cell_types = { odd = "CL:9999999", B = "B cell" }')
    assert 'line 4: cell_types.B: B should be the id of a term of the Cell Ontology, such as "CL:0000236"' in str(
        error.value
    )
    with pytest.raises(corpuscle.InputError) as error:
        plan(extra='cell_types = { odd = "CL:9999999" }')
    assert "line 4: cell_types.odd: the Cell Ontology has no current term 'CL:9999999', given for 'odd'" in str(
        error.value
    )


def test_every_metric_is_found_and_says_what_it_is(plan: Callable[..., Any]) -> None:
    pytest.importorskip("cellxgene_ontology_guide")
    found = measure(plan(cell_type=[("B cell", "T cell", "neuron")[at % 3] for at in range(130)])).measures
    metrics = {metric.name: metric for each in built_ins() for metric in each.metrics}
    assert sum(len(each.metrics) for each in built_ins()) == len(metrics)
    assert set(found["measure"]) == set(metrics)
    for metric in metrics.values():
        rows = found[found["measure"] == metric.name]
        assert metric.title[:1].isupper()
        assert metric.meaning.endswith(".")
        for column in ("meaning", "better", "scale", "version"):
            assert set(rows[column]) == {getattr(metric, column)}
        values = rows["value"].dropna()
        assert len(values)
        assert metric.scale == "real" or (values >= 0).all()
        assert metric.scale != "share" or (values <= 1).all()
        assert rows["headline"].any() or metric.name in ("shannon_nats", "chao1", "donor_completeness")
    # Of other labels, one number is shown, and none of a label that has one value.
    shown = found[found["headline"]].groupby("of")["measure"].unique()
    assert shown["donor"].tolist() == ["inverse_simpson"]
    assert "source" not in shown


def test_a_file_in_the_folder_is_a_measure_and_appears_with_its_title(
    plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The file is the example of the documentation.
    text = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rarest.py").write_text(text.partition("```python\n")[2].partition("```")[0])
    monkeypatch.setattr(measures_folder, "__path__", [*measures_folder.__path__, str(tmp_path / "own")])
    study = plan().study
    corpuscle.describe(study, tmp_path / "out", workers=0)
    table = pd.read_parquet(tmp_path / "out" / "measures.parquet")
    corpus = plan().corpora["All", 0]
    n_rarest = min(np.unique(corpus.labels("cell_type"), return_counts=True)[1])
    assert one(table, corpus="All", measure="rarest").value == n_rarest
    assert one(table, corpus="All", measure="unseen_types", target="blood").value == 0
    page = (tmp_path / "out" / "description.html").read_text()
    assert "Cells of the rarest type</th>" in page
    assert "Types not in the corpus</th>" in page
    assert "Lower is better." in page


def test_two_metrics_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = Path(next(iter(measures_folder.__path__))) / "mmd.py"
    (tmp_path / "other_mmd.py").write_text(built_in.read_text())
    monkeypatch.setattr(measures_folder, "__path__", [*measures_folder.__path__, str(tmp_path)])
    with pytest.raises(corpuscle.InputError, match="'mmd' and 'other_mmd' both have a metric 'squared_mmd'"):
        built_ins()


def test_what_a_measure_cannot_find_at_all_is_the_reason_of_its_metrics(plan: Callable[..., Any]) -> None:
    class Failing(Measure):
        metrics = (Metric("first", "First", "1."), Metric("second", "Second", "2."))
        needs_targets = True

        def measure(self, view: View, book: Book) -> None:
            with book.row(self.metrics[0], 3, target="blood") as row:
                row.value = 1.0
            raise MeasureError("there is nothing to compare")

    study = StudyView(3, CellTypes(MeasureError("none"), {}), plan().targets, lambda: 1 / 0)
    rows, _ = measure_corpus([Failing()], View(plan().corpora["All", 0], 0, study))
    assert rows[["measure", "target", "reason"]].to_numpy().tolist() == [
        ["first", "blood", "interval: not estimated"],
        ["second", "blood", "there is nothing to compare"],
    ]


def test_a_measure_that_fails_costs_that_corpus_and_no_other(
    plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Vendi.measure

    def broken(self: Vendi, view: View, book: Book) -> None:
        if view.corpus.name == "Half":
            raise ZeroDivisionError("a bug")
        real(self, view, book)

    monkeypatch.setattr(Vendi, "measure", broken)
    measured = corpuscle.describe(plan().study, tmp_path / "out", workers=0)
    (place,) = measured.failures
    assert place == ("Half", 0)
    assert "ZeroDivisionError: a bug" in measured.failures[place]
    assert set(measured.measures["corpus"]) == {"All"}
    assert "All" in (tmp_path / "out" / "description.html").read_text(encoding="utf-8")
    monkeypatch.setattr(Vendi, "measure", lambda *_: 1 / 0)
    with pytest.raises(StudyError, match="division by zero"):
        corpuscle.describe(plan().study, workers=0)
