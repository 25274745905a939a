"""What a study of very many corpora needs: nothing kept that grows, a page that stays small, and refusals in time."""

import weakref
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from corpuscle import terminal
from corpuscle.core.components import legal_names
from corpuscle.core.errors import MeasureError, StudyError
from corpuscle.core.scores import Metric
from corpuscle.corpus.places import Places
from corpuscle.evaluation.maps import MOST_MAPPED
from corpuscle.execution.graph import runs_of
from corpuscle.execution.opened import Opened
from corpuscle.measures.table import Book, Once, attempt, demand, tables
from corpuscle.report.sections.shown import MOST_CORPORA, shown_corpora
from corpuscle.study import drawing as planning
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study

STUDY = """
name = "many"
{seeds}
sources.blood = {{ path = "blood.h5ad" }}
holdout.blood = {{ by = "cell", share = 0.3 }}
corpora = [{corpora}]
models = [{model}]
tasks = [{{ name = "{task}", on = ["blood"] }}]
"""
TOY = '{ name = "toy:MeanProfile" }'
ONE = "seeds = 1"


@pytest.fixture
def study(tmp_path: Path, write: Callable[..., Path]) -> Callable[..., Study]:
    """Make a study of many corpora of thirty cells."""

    def made(n_corpora: int = 2, model: str = TOY, corpora: str = "", seeds: str = ONE, task: str = "") -> Study:
        write("blood", 30)
        each = [f'{{ name = "C{at}", parts = [{{ source = "blood", n_cells = 5 }}] }}' for at in range(n_corpora)]
        text = STUDY.format(corpora=corpora or ", ".join(each), model=model, seeds=seeds, task=task or "reconstruction")
        return Study.parse(text, tmp_path)

    return made


def refusal(make: Callable[[], Any]) -> str:
    with pytest.raises(StudyError) as caught:
        make()
    (problem,) = caught.value.problems
    return str(problem)


def test_of_many_corpora_the_baseline_and_the_first_have_maps(study: Callable[..., Study], tmp_path: Path) -> None:
    found = study(MOST_MAPPED + 4, task="annotation", seeds=f'seeds = 1\nbaseline = "C{MOST_MAPPED + 2}"')
    mapped = [one.run.corpus for one in runs_of(prepare(found), Opened(tmp_path).corpora) if one.maps]
    assert mapped == [*(f"C{at}" for at in range(MOST_MAPPED - 1)), f"C{MOST_MAPPED + 2}"]


class Cells:
    """Something large that must not stay."""


def test_an_error_that_is_kept_keeps_no_cells_alive() -> None:
    alive = []

    def fail() -> None:
        cells = Cells()
        alive.append(weakref.ref(cells))
        raise MeasureError("there is one donor")

    def measure(book: Book) -> None:
        cells = Cells()
        alive.append(weakref.ref(cells))
        with book.row(Metric("spread", "Spread", "How far cells are apart."), 3):
            demand(kept)

    kept, book = attempt(fail), Book("components")
    for _ in range(2):
        measure(book)
    assert [cells() for cells in alive] == [None] * 3
    assert tables([book])[0]["reason"].tolist() == ["there is one donor"] * 2


def test_what_is_found_once_is_searched_once_and_a_failure_keeps_no_cells_alive() -> None:
    alive = []

    class View:
        @Once
        def donors(self) -> int:
            cells = Cells()
            alive.append(weakref.ref(cells))
            raise MeasureError("there is one donor")

    view = View()
    for _ in range(2):
        with pytest.raises(MeasureError, match="one donor"):
            _ = view.donors
    assert [cells() for cells in alive] == [None]


def test_each_cell_has_one_number_whatever_the_order() -> None:
    index = pd.MultiIndex.from_tuples([("b", 7), ("a", 3), ("b", 1), ("a", 9)])
    source_N, row_N = np.array(["a", "b", "b", "a", "a"], dtype=object), np.array([9, 1, 7, 3, 9])
    assert Places(index).find(source_N, row_N).tolist() == [3, 2, 0, 1, 3]


def test_check_shows_the_first_of_many_corpora(study: Callable[..., Study]) -> None:
    shown = StringIO()
    n_more = 5
    plan = prepare(study(terminal.MOST_ROWS + n_more))
    terminal.show_plan(Console(file=shown, width=120), plan, None, 1)
    assert f"C{terminal.MOST_ROWS - 1} " in shown.getvalue()
    assert f"C{terminal.MOST_ROWS} " not in shown.getvalue()
    assert f"… and {n_more} more" in shown.getvalue()


def test_a_message_names_the_first_of_many_legal_names() -> None:
    told = legal_names("c1234", [f"C{at}" for at in range(10_000)])
    assert told.startswith("did you mean 'C1234'? Legal here: C0, C1, ")
    assert told.endswith("C59, and 9,940 more")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ('{ name = "ldvae", n_hidden = 1000000000 }', "n_hidden should be less than or equal to"),
        ('{ name = "scvi", n_layers = 1000000000 }', "n_layers should be less than or equal to"),
        ('{ name = "pca", n_genes = 999999999999999999 }', "n_genes should be at most 1,000,000,000,000"),
        ('{ name = "ldvae", n_hidden = 1000000, n_layers = 50 }', "'ldvae' would take about 7"),
        ('{ name = "scvi", n_hidden = 1000000, n_layers = 50 }', "'scvi' would take about 1"),
        ('{ name = "masked_autoencoder", widths = [1000000, 1000000] }', "'masked_autoencoder' would take about 3"),
        ('{ name = "untrained", model = { name = "ldvae", n_hidden = 1000000, n_layers = 50 } }', "would take about 7"),
        ('{ name = "ldvae", budget = { steps = 1000000000000 } }', "steps should be less than or equal to"),
    ],
)
def test_a_model_beyond_the_machine_is_refused_before_it_is_made(
    study: Callable[..., Study], model: str, told: str
) -> None:
    assert told in refusal(lambda: prepare(study(model=model)))


def test_a_step_whose_model_is_beyond_the_machine_is_refused_before_it_is_trained(study: Callable[..., Study]) -> None:
    settings = "{ n_hidden = 1000000, n_layers = 50 }"
    step = f'{{ alteration = "impute_rare", threshold = 5, model = "scvi", settings = {settings} }}'
    corpora = f'{{ name = "A", parts = [{{ source = "blood", n_cells = 9 }}], steps = [{step}] }}'
    assert "corpora[0].steps[0]: model 'scvi' would take about" in refusal(lambda: prepare(study(corpora=corpora)))


@pytest.mark.parametrize(
    ("corpora", "told"),
    [
        ('{ name = "A", parts = [{ source = "blood", n_cells = 10000000000000 }] }', "n_cells should be less than"),
        (
            '{ name = "A", parts = [{ source = "blood", n_cells = 1000000000 }], ladder = { cells = [3] } }',
            "it asks for 1,000,000,000 cells of blood, which has 21",
        ),
        (
            f'{{ name = "A", parts = [{{ source = "blood" }}], ladder = {{ cells = {list(range(1, 202))} }} }}',
            "ladder.cells: List should have at most 200 items",
        ),
    ],
)
def test_a_corpus_beyond_its_source_is_refused_before_it_is_laid_out(
    study: Callable[..., Study], corpora: str, told: str
) -> None:
    assert told in refusal(lambda: prepare(study(corpora=corpora)))


def test_more_runs_than_a_study_can_have_are_refused(study: Callable[..., Study]) -> None:
    told = refusal(lambda: study(101, seeds="seeds = 10000"))
    assert "seeds: 101 corpora × 1 models × 10,000 seeds are 1,010,000 runs" in told


def test_corpora_beyond_the_machine_are_refused_before_they_are_drawn(
    study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "machine_memory", lambda: 10_000)
    monkeypatch.setattr("corpuscle.corpus.recipe.Recipe.draw", None)
    told = refusal(lambda: prepare(study(20, seeds="seeds = 2")))
    assert "seeds: the corpora have 200 cells, all seeds together" in told


@pytest.mark.parametrize(("by", "other"), [("log2_fold_change", "difference"), ("difference", "log2_fold_change")])
def test_a_page_shows_the_baseline_and_what_moved_furthest(by: str, other: str) -> None:
    corpora = [f"C{at}" for at in range(100)]
    rows = [("m", "t", target, "r2", "all", name, at % 50) for target in "ab" for at, name in enumerate(corpora)]
    columns = ["model", "task", "target", "metric", "unit", "corpus", by]
    summary = pd.DataFrame(rows, columns=columns).assign(way="", **{other: 0.0})
    summary["compared_by"] = "ratio" if by == "log2_fold_change" else "difference"
    shown = shown_corpora(corpora, "C0", summary)
    assert len(shown) == MOST_CORPORA
    assert shown == sorted(shown, key=corpora.index)
    assert {"C0", "C49", "C99", "C48"} <= set(shown)
    assert "C1" not in shown
    assert shown_corpora(corpora[:MOST_CORPORA], "C0", summary) == corpora[:MOST_CORPORA]
