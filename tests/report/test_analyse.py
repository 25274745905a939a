"""Scores of others, from a tidy table: what they may look like, what is refused, and the report of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from corpuscle.cli import app
from corpuscle.core.errors import FolderError, InputError
from corpuscle.report.analyse import analyse, laid_out


def table_of(n_donors: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        (corpus, seed, donor, 0.6 + gain + 0.05 * np.sin(at) + 0.01 * rng.normal())
        for corpus, gain in (("Blood", 0.0), ("Blood+Blood", 0.0), ("Blood+Lung", 0.08))
        for seed in range(4)
        for at, donor in enumerate([f"00{at}" for at in range(n_donors)] or [""])
    ]
    table = pd.DataFrame(rows, columns=["corpus", "seed", "donor", "value"])
    return table.assign(metric="macro_f1", better="higher", scale="share")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_a_table_of_anybodys_scores_is_compared_and_reported(tmp_path: Path, ending: str) -> None:
    path, table = tmp_path / f"their scores{ending}", table_of(n_donors=6)
    if ending == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="," if ending == ".csv" else "\t")
    page = analyse(path, tmp_path / "out", control="Blood+Blood", margins={"macro_f1": 0.05})
    summary = pd.read_csv(page.parent / "scores_summary.csv").query("unit == 'all'").set_index("corpus")
    assert summary["verdict"].to_dict() == {"Blood": "baseline", "Blood+Blood": "equivalent", "Blood+Lung": "better"}
    assert set(summary["n_donors"]) == {6}
    assert set(summary["over"]) == {"runs and donors"}
    assert np.isfinite(summary.loc["Blood+Lung", "control_low"])
    assert len(pd.read_csv(page.parent / "pairs.csv")) == 3
    assert "Blood+Lung is better than Blood: it raises macro f1 by" in page.read_text()
    units = pd.read_parquet(page.parent / "scores.parquet")["unit"]
    assert "donor=000" in set(units), "donors keep their zeros"
    analyse(path, tmp_path / "out", baseline="Blood+Lung")
    assert "is worse than Blood+Lung" in page.read_text(), "an analysis is replaced by the next"


def test_crossed_runs_are_named_by_draw_and_fit_and_not_taken_for_independent(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    draw, fit = rng.normal(0, 0.05, (2, 4)), rng.normal(0, 0.01, (2, 2))
    rows = [
        (corpus, d, f, 0.5 + draw[at, d] + fit[at, f])
        for at, corpus in enumerate("AB")
        for d in range(4)
        for f in (0, 1)
    ]
    table = pd.DataFrame(rows, columns=["corpus", "draw", "fit", "value"]).assign(metric="f1", better="higher")
    table.to_csv(tmp_path / "scores.csv", index=False)
    page = analyse(tmp_path / "scores.csv", tmp_path / "out")
    assert "Runs are 4 draws × 2 initialisations" in page.read_text()
    parts = pd.read_csv(page.parent / "variance_components.csv").iloc[0]
    assert parts["draw"] == pytest.approx(draw[0].var(ddof=1))
    wide = pd.read_csv(page.parent / "scores_summary.csv").iloc[1]
    alone = table.assign(seed=2 * table["draw"] + table["fit"]).drop(columns=["draw", "fit"])
    narrow = pd.read_csv(analyse(alone, tmp_path / "alone").parent / "scores_summary.csv").iloc[1]
    assert wide["difference"] == pytest.approx(narrow["difference"])
    assert wide["difference_high"] - wide["difference_low"] > 1.2 * (
        narrow["difference_high"] - narrow["difference_low"]
    )
    with pytest.raises(InputError, match="either by seed or by draw and fit"):
        analyse(table.assign(seed=0), tmp_path / "both")
    with pytest.raises(InputError, match="row 1: draw is -1; expected a whole number from 0"):
        analyse(table.assign(draw=-1), tmp_path / "negative")
    assert not (tmp_path / "negative").exists()


def test_runs_with_scores_of_donors_alone_get_their_mean() -> None:
    table = pd.DataFrame({
        "corpus": "A", "seed": 0, "metric": "f1", "donor": ["a", "b", "c"], "value": [0.2, 0.5, np.nan],
        "n_cells": [10, 30, 60],
    })  # fmt: skip
    found = laid_out(table).set_index("unit")
    assert found.loc["all", "value"] == pytest.approx((0.2 * 10 + 0.5 * 30) / 40)
    assert found.loc["all", "reason"] == "mean of the donors' scores"
    own = pd.concat([table, table.iloc[:1].assign(donor="", value=0.9)])
    assert laid_out(own).set_index("unit").loc["all", "value"] == 0.9


FAULTS = {
    "a column is lacking": (lambda t: t.drop(columns="seed"), "it lacks seed"),
    "no rows": (lambda t: t.iloc[:0], "it has no rows"),
    "a seed that is none": (lambda t: t.assign(seed="first"), "row 1: seed is 'first'; expected a whole number"),
    "half a seed": (lambda t: t.assign(seed=0.5), "row 1: seed is 0.5; expected a whole number"),
    "a value that is none": (lambda t: t.assign(value="high"), "row 1: value is 'high'; expected a number"),
    "a direction that is none": (lambda t: t.assign(better="up"), "row 1: better is 'up'; expected higher"),
    "a scale that is none": (lambda t: t.assign(scale="%"), "row 1: scale is '%'; expected share"),
    "no corpus": (lambda t: t.assign(corpus=[None, *t["corpus"][1:]]), "row 1: corpus is ''; expected a name"),
    "a unit that is none": (lambda t: t.assign(unit="donor d1"), "row 1: unit is 'donor d1'; expected all, or donor="),
    "a headline that is none": (lambda t: t.assign(headline="no"), "row 1: headline is 'no'; expected true or false"),
    "donors twice": (lambda t: t.assign(donor="d", unit="all"), "not both"),
    "two values of a run": (lambda t: pd.concat([t, t]), "one value per seed"),
    "a share above 1": (lambda t: t.assign(value=61.0), "is a share, from 0 to 1, and has the value 61"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_table_is_refused_by_one_message(tmp_path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        analyse(change(table_of().drop(columns="donor")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


FILES = {
    "two columns of one name": (b"corpus,seed,metric,value,value\nA,0,f1,0.5,0.6\n", "two columns 'value'"),
    "more cells than names": (b"corpus,seed,metric,value\nX,A,0,f1,0.5\n", "cannot be read as a table of scores"),
    "semicolons": (b"corpus;seed;metric;value\nA;0;f1;0.5\n", "has corpus;seed;metric;value"),
    "a seed beyond all numbers": (b"corpus,seed,metric,value\nA,99999999999999999999,f1,0.5\n", "a whole number"),
    "not UTF-8": (b"corpus,seed,metric,value\n\xe9,0,f1,0.5\n", "cannot be read as a table of scores"),
    "nothing": (b"", "cannot be read as a table of scores"),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_faulty_file_is_refused_by_one_message(tmp_path: Path, fault: str) -> None:
    content, message = FILES[fault]
    (tmp_path / "scores.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        analyse(tmp_path / "scores.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    table_of().to_csv(tmp_path / "scores.csv", index=False, encoding="utf-8-sig")
    assert analyse(tmp_path / "scores.csv", tmp_path / "out").exists()


def test_names_that_are_not_there_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for settings in ({"baseline": "Lung"}, {"control": "Lung"}, {"margins": {"f2": 0.1}}, {"margins": {"macro_f1": 0}}):
        with pytest.raises(InputError):
            analyse(table_of(), tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_with_numbers_of_cells_learning_curves_are_judged(tmp_path: Path) -> None:
    rng, sizes = np.random.default_rng(0), (100, 1000, 10_000, 100_000)
    rows = [
        (f"{ladder} {size}", ladder, size, seed, 0.9 - 0.4 * (size / 100) ** -power + 0.002 * rng.normal())
        for ladder, power in (("random", 0.9), ("sketch", 0.15)) for size in sizes for seed in range(3)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["corpus", "ladder", "cells", "seed", "value"])
    table = table.assign(metric="f1", better="higher", scale="share")
    page = analyse(table, tmp_path / "out")
    found = pd.read_csv(page.parent / "saturation.csv").set_index("ladder")
    assert found.loc["random", "status"] == "saturated"
    assert found.loc["sketch", "status"] != "saturated"
    assert found["n_sizes"].to_dict() == {"random": 4, "sketch": 4}
    with pytest.raises(InputError, match="two numbers of cells"):
        analyse(pd.concat([table, table.assign(metric="f2", cells=7)]), tmp_path / "other")


def test_donors_that_are_missing_are_no_donors() -> None:
    table = pd.DataFrame({"corpus": "A", "seed": 0, "metric": "f1", "donor": ["NA", "d1"], "value": [0.5, 0.6]})
    assert list(laid_out(table)["unit"]) == ["all", "donor=d1"]


def test_what_an_earlier_analysis_wrote_is_not_left_behind(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    table = table_of(n_donors=5)
    table["cells"] = table["corpus"].map({"Blood": 100, "Blood+Blood": 200, "Blood+Lung": 300})
    page = analyse(table, tmp_path / "out", mixed=True)
    assert {"mixed_model.csv", "saturation.csv"} <= {path.name for path in page.parent.iterdir()}
    with pytest.raises(InputError, match="keep curves apart by a column 'ladder'"):
        analyse(table.assign(cells=100), tmp_path / "other")
    cells = pd.DataFrame(
        [(c, s, f"cell={at}") for c in "AB" for s in (0, 1) for at in range(3)], columns=["corpus", "seed", "unit"]
    )
    cells["value"] = np.linspace(0, 1, len(cells))
    analyse(cells.assign(metric="r2"), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "per_cell.csv" in names
    assert not {"mixed_model.csv", "saturation.csv"} & names
    analyse(table, tmp_path / "out")
    assert "per_cell.csv" not in {path.name for path in (tmp_path / "out").iterdir()}


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(FolderError, match="other files"):
        analyse(table_of(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_names_with_quotes_and_markup_are_names(tmp_path: Path) -> None:
    table = table_of()
    table["corpus"] = table["corpus"] + ' "<b>\\n'
    page = analyse(table, tmp_path / "out", margins={"macro_f1": 0.05})
    assert "Blood &#34;&lt;b&gt;" in page.read_text()
    assert 'Blood "<b>' not in page.read_text()


def test_the_command(tmp_path: Path) -> None:
    table_of(6).to_csv(tmp_path / "s.csv", index=False)
    command = ["analyse", str(tmp_path / "s.csv"), "-o", str(tmp_path / "out"), "--margin", "macro_f1=0.05"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    assert "Report: " in found.output
    assert isinstance(CliRunner().invoke(app, [*command, "--margin", "0.1"]).exception, InputError)
