"""The report of a study with ladders: a section, a figure and a file, with the verdicts of the scores."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import InputError
from corpuscle.report.page.render import render
from corpuscle.report.sections.learning_curves import LearningCurves, rungs_of, starts_of
from corpuscle.statistics.ladders import saturation

SIZES = (100, 300, 1000, 3000, 10_000)
CORPORA = tuple(f"Blood {size:,} cells" for size in SIZES)
LADDER = '[[corpora]]\nname = "Blood"\nparts = []\nladder = { cells = [100, 300, 1000, 3000, 10000] }\n'


@pytest.fixture
def ladder_run(make_run: Callable[..., Path]) -> Path:
    """A run of one ladder whose R² on blood ends within it."""
    folder = make_run(corpora=CORPORA, seeds=4, targets=("blood",), n_types=3, n_genes=12, units={})
    study = (folder / "study.toml").read_text("utf-8")
    written = re.sub(r'\[\[corpora\]\]\nname = "[^"]*"\nparts = \[\]\n?', "", study)
    (folder / "study.toml").write_text(written.replace("[[models]]", LADDER + "[[models]]", 1), "utf-8")
    draws = pd.DataFrame({"corpus": CORPORA, "source": "blood", "n_cells": SIZES, "pool": 100_000,
                          "share": 0.01, "overlap": 0.0})  # fmt: skip
    draws.to_parquet(folder / "draws.parquet")
    scores = pd.read_parquet(folder / "scores.parquet")
    size = scores["corpus"].map(dict(zip(CORPORA, SIZES, strict=True))).astype(float)
    noise = 0.003 * np.random.default_rng(0).standard_normal(len(scores))
    curve = 0.8 - 0.4 * (size / 100) ** -1.2 + noise
    scores["value"] = scores["value"].where(scores["task"] != "reconstruction", curve)
    scores.to_parquet(folder / "scores.parquet")
    return folder


def test_a_ladder_has_a_section_a_figure_and_a_file(ladder_run: Path) -> None:
    page = render(ladder_run).read_text("utf-8")
    table = pd.read_csv(ladder_run / "saturation.csv")
    assert table[["ladder", "status", "equivalent_from"]].to_numpy().tolist() == [["Blood", "saturated", 3000]]
    assert 'id="learning"' in page
    assert "Of 1 curve: 1 saturated." in page
    assert "ldvae took 4,000 steps at every size" in page
    assert "not to conclude from" in page
    figure = pd.read_csv(ladder_run / "figures" / "learning-blood-reconstruction.csv")
    assert figure["kind"].value_counts()[["run", "mean"]].tolist() == [20, 5]
    assert (ladder_run / "figures" / "learning-blood-reconstruction.svg").exists()


def test_a_curve_is_drawn_on_axes(ladder_run: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    from corpuscle import plot

    ax = figure.Figure().subplots()
    assert plot.learning_curves(ladder_run, ax=ax) is ax
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert len(lines["run"].get_xdata()) == 20
    assert lines["mean"].get_xdata().tolist() == list(SIZES)
    assert lines["fitted"].get_linestyle() == "-"
    n95 = pd.read_csv(_rendered(ladder_run) / "saturation.csv")[["n95_low", "n95_high"]].iloc[0]
    np.testing.assert_allclose(lines["N95"].get_xdata(), np.minimum(n95, SIZES[-1]))
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "R² (log)")
    with pytest.raises(InputError, match="ladder: expected one of 'Blood'; not 'Lung'"):
        plot.learning_curves(ladder_run, ladder="Lung", ax=ax)


def test_a_study_without_a_ladder_has_no_curve_to_draw(make_run: Callable[..., Path]) -> None:
    pytest.importorskip("matplotlib")
    from corpuscle import plot

    with pytest.raises(InputError, match="the study has no ladder"):
        plot.learning_curves(make_run(n_types=3, n_genes=12))


def _rendered(folder: Path) -> Path:
    return render(folder).parent


def test_the_files_numbers_are_those_of_the_function_on_the_score_rows(ladder_run: Path) -> None:
    render(ladder_run)
    scores = pd.read_parquet(ladder_run / "scores.parquet").query("headline and task == 'reconstruction'")
    sizes = scores["corpus"].map(dict(zip(CORPORA, SIZES, strict=True)))
    expected = saturation(scores.assign(ladder="Blood"), sizes)
    written = pd.read_csv(ladder_run / "saturation.csv", keep_default_na=False, na_values=["", "nan"])
    numeric = expected.select_dtypes("number").columns
    pd.testing.assert_frame_equal(written[numeric], expected[numeric], check_dtype=False)


def test_without_a_ladder_there_is_no_section_and_no_file_of_an_earlier_report(make_run: Callable[..., Path]) -> None:
    folder = make_run(n_types=3, n_genes=12)
    (folder / "saturation.csv").write_text("old")
    (folder / "draws.parquet").unlink()
    assert 'id="learning"' not in render(folder).read_text("utf-8")
    assert not (folder / "saturation.csv").exists()


def test_thinned_ladders_are_of_one_family_and_other_steps_are_not() -> None:
    part = {"parts": [{"source": "blood"}], "ladder": {"percent": [1, 100]}}
    thin = {"alteration": "thin", "keep": 0.5}
    some = {**thin, "where": "cell_type == 'B'"}
    corpora = [
        {"name": "A", **part},
        {"name": "B", **part, "steps": [thin]},
        {"name": "C", **part, "steps": [thin, thin]},
        {"name": "D", **part, "steps": [some]},
        {"name": "E", "parts": []},
    ]
    names = [f"{corpus['name']} {size} %" for corpus in corpora for size in (1, 100)]
    draws = pd.DataFrame({"corpus": names, "source": "blood", "n_cells": 10})
    found = rungs_of({"corpora": corpora}, draws).drop_duplicates("ladder").set_index("ladder")
    assert found["kept"].to_dict() == {"A": 1.0, "B": 0.5, "C": 0.25, "D": 1.0}
    assert found["family"]["A"] == found["family"]["B"] == found["family"]["C"] != found["family"]["D"]


def test_cells_against_depth_are_said_and_unequal_steps_are() -> None:
    ladder = {"parts": [], "ladder": {"cells": list(SIZES)}}
    thin = [{"alteration": "thin", "keep": 0.5}]
    study = {"corpora": [{"name": "Blood", **ladder}, {"name": "Thin", **ladder, "steps": thin}]}
    rows, steps = [], []
    rng = np.random.default_rng(0)
    for name, times in (("Blood", 1), ("Thin", 3)):
        for size in SIZES:
            for seed in range(4):
                value = 0.8 - 0.4 * (size / times / 100) ** -0.6 + 0.003 * rng.standard_normal()
                rows.append((f"{name} {size:,} cells", seed, value))
            steps.append((f"{name} {size:,} cells", "m", size))
    scores = pd.DataFrame(rows, columns=["corpus", "seed", "value"]).assign(
        model="m", task="t", target="blood", metric="f1", unit="all", better="higher", scale="share", title="F1",
        headline=True,
    )  # fmt: skip
    draws = pd.DataFrame(
        [(f"{name} {size:,} cells", "blood", size) for name in ("Blood", "Thin") for size in SIZES],
        columns=["corpus", "source", "n_cells"],
    )
    found = LearningCurves.of(study, scores, draws, pd.DataFrame(steps, columns=["corpus", "model", "step"]))
    ((about, says),) = found.exchanges
    assert about == "Blood, m, t on blood"
    assert re.match(r"Halving depth costs as much as (2\.\d|3(\.\d)?) times fewer cells \(90 % interval", says)
    assert "m took 100 to 10,000 steps: compute is not matched" in found.compute[0]


def test_an_untrained_model_is_where_gains_start_and_has_no_curve(ladder_run: Path) -> None:
    study = (ladder_run / "study.toml").read_text("utf-8")
    never = '[[models]]\nname = "untrained"\nmodel = { name = "ldvae" }\n'
    (ladder_run / "study.toml").write_text(study.replace("[[tasks]]", never + "[[tasks]]", 1), "utf-8")
    scores = pd.read_parquet(ladder_run / "scores.parquet")
    noise = 0.01 * scores["seed"]
    pd.concat([scores, scores.assign(model="untrained", value=0.1 + noise)]).to_parquet(ladder_run / "scores.parquet")
    render(ladder_run)
    found = pd.read_csv(ladder_run / "saturation.csv")
    assert found[["model", "start"]].to_numpy().tolist() == [["ldvae", "untrained"]]
    assert found["gain"].item() == pytest.approx(0.8 - 0.115, abs=0.01)


def test_models_start_from_their_untrained_selves() -> None:
    models = [
        {"name": "scvi"},
        {"name": "ldvae", "label": "L"},
        {"name": "untrained", "label": "never", "model": {"name": "ldvae"}},
    ]
    assert starts_of({"models": models}) == {"L": "never"}
