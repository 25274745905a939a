"""`corpuscle recommend`, end to end on three small sources, with a proxy that is fitted at once."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cells_of_types import cells_of_types
from corpuscle import Study, recommend
from corpuscle.cli import app
from corpuscle.core.errors import InputError, StudyError
from corpuscle.execution.listener import Listener
from corpuscle.report import leaderboard
from corpuscle.study.plan import Run
from dask_cluster import dask_cluster
from published import STUDIES, module_at

N_GENES = 40
# Cells, and shares of four cell types.
SOURCES = {"a": (120, (0.7, 0.3, 0, 0)), "b": (90, (0, 0.6, 0.4, 0)), "c": (30, (0.1, 0, 0.2, 0.7)),
           "<new>": (40, (0, 0.1, 0.1, 0.8))}  # fmt: skip
STUDY = """
name = "three & one"
[quality]
min_genes = 1
[mixture]
sources = ["a", "b", "c"]
n_cells = 40
mixtures = 8
held_out = 0
rounds = 0
[[models]]
name = "toy:MeanProfile"
[[tasks]]
name = "reconstruction"
on = ["<new>"]
[sources]
"""


class Heard(Listener):
    """Counts what is to do and what is there, and stops when a stage begins."""

    def __init__(self, stops_at: str = "") -> None:
        self.stops_at = stops_at
        self.to_do, self.there, self.lines = 0, 0, list[str]()

    def planned(self, n_steps: Mapping[Run, int], reused: int) -> None:
        self.to_do, self.there = self.to_do + len(n_steps), self.there + reused

    def said(self, text: str) -> None:
        self.lines.append(text)
        if self.stops_at and text.startswith(self.stops_at):
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recommend")
    rng = np.random.default_rng(0)
    profile_tg = rng.gamma(0.6, 1.0, (4, N_GENES))
    profile_tg /= profile_tg.sum(axis=1, keepdims=True)
    lines = []
    for at, (name, (n_cells, shares)) in enumerate(SOURCES.items()):
        cells = cells_of_types(profile_tg, shares, n_cells=n_cells, depths=(150, 400), rng=rng, name=str(at))
        cells.write_h5ad(folder / f"{at}.h5ad")
        lines.append(f'"{name}" = {{ path = "{at}.h5ad" }}')
    (folder / "study.toml").write_text(STUDY + "\n".join(lines))
    return folder / "study.toml"


def _counts_each_training_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """See that a leaderboard counts trainings once that two stages have."""
    shutil.copytree(out / "stages" / "design", out / "stages" / "gate")
    counted: list[pd.DataFrame] = []
    with monkeypatch.context() as patched:
        patched.setattr(leaderboard, "leaderboard", lambda _measures, scores, _seen: counted.append(scores))
        patched.setattr(leaderboard, "standings", lambda *_: None)
        leaderboard.standings_of(out)
    assert not counted[0].duplicated(["corpus", "model", "seed", "task", "target", "metric", "way", "unit"]).any()
    shutil.rmtree(out / "stages" / "gate")


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_and_a_finished_one_makes_nothing_new(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        recommend(file, out, workers=0, listener=Heard("confirmation"))
    assert not (out / "recommendation.json").exists()
    second = Heard()
    found = recommend(file, out, workers=0, listener=second)
    assert second.there == 16
    n_confirmed = len(found.tables["trials"].query("stage == 'confirmation'"))
    assert second.to_do == n_confirmed >= 5 * 4
    document = json.loads((out / "recommendation.json").read_text())
    assert document["advice"] == found.advice
    # The unseen target is mostly of the type that c has most of.
    assert document["weights"]["c"] > 0.5
    assert set(document["tables"].values()) <= {path.name for path in out.iterdir()}
    page = (out / "recommendation.html").read_text()
    assert "three &amp; one" in page
    assert "&lt;new&gt;" in page
    assert "<new>" not in page
    mixtures = pd.read_csv(out / "mixtures.csv").set_index("mixture")
    assert mixtures.loc["only c", ["n_cells", "unique_cells", "most_repeats"]].tolist() == [40, 30, 2]
    again = CliRunner().invoke(app, ["recommend", str(file), "-o", str(out), "-w", "1"])
    assert again.exit_code == 0, again.output
    assert found.advice in again.stdout
    assert json.loads((out / "recommendation.json").read_text()) == document
    # Measures are those of the forecast's stage, scores those of all others.
    # A stage that was interrupted does not count.
    (out / "stages" / "later").mkdir()
    (out / "stages" / "later" / "provenance.json").write_text("{}")
    board = CliRunner().invoke(app, ["leaderboard", str(out), "-o", str(tmp_path / "board")])
    assert board.exit_code == 0, board.output
    assert "Targets of other sources" in board.stdout
    assert "knn_distance" in board.stdout
    _counts_each_training_once(out, monkeypatch)
    table = pd.read_csv(tmp_path / "board" / "standings.csv")
    assert table["n_corpora"].min() >= 8
    assert not table["seen"].any()
    # The same folder makes the page of the documentation.
    results = module_at(STUDIES / "mixture_results.py")
    monkeypatch.setattr(results, "PAGES", tmp_path / "pages")
    results.main(out)
    tables = {path.stem: path.read_text().splitlines() for path in (tmp_path / "pages").iterdir()}
    assert set(tables) == {"said", "scorecard", "confirmed", "measures"}
    assert found.advice in tables["said"][0].replace("\\", "")
    assert len(tables["scorecard"]) == 2 + 2
    assert len(tables["measures"]) > 10


@pytest.mark.slow
def test_no_advice_is_a_recommendation_too(file: Path, tmp_path: Path) -> None:
    # Of two sources that are alike, scores are noise; of twelve cells, many mixtures are one.
    text = STUDY.replace('["a", "b", "c"]', '["a", "like a"]').replace("n_cells = 40", "n_cells = 12")
    profile_tg = np.random.default_rng(1).gamma(0.6, 1.0, (4, N_GENES))
    profile_tg /= profile_tg.sum(axis=1, keepdims=True)
    for at, name in enumerate(("a", "like a", "<new>")):
        rng = np.random.default_rng(at)
        cells = cells_of_types(profile_tg, (0.7, 0.3, 0, 0), n_cells=90, depths=(150, 400), rng=rng, name=str(at))
        cells.write_h5ad(tmp_path / f"{at}.h5ad")
        text += f'"{name}" = {{ path = "{at}.h5ad" }}\n'
    (tmp_path / "study.toml").write_text(text)
    out = tmp_path / "out"
    found = CliRunner().invoke(app, ["recommend", str(tmp_path / "study.toml"), "-o", str(out), "-w", "1"])
    assert found.exit_code == 0, found.output
    document = json.loads((out / "recommendation.json").read_text())
    assert document["abstains"]
    assert document["advice"].startswith("No advice: ")
    assert "at least 8 are needed" not in document["advice"]
    assert pd.read_csv(out / "confirmation.csv").empty
    assert pd.read_csv(out / "trials.csv")["mixture"].nunique() >= 8
    assert "No advice" in (out / "recommendation.html").read_text()


def test_check_says_what_each_stage_takes_and_run_that_recommend_does_it(file: Path, tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["check", str(file), "--plan"])
    assert found.exit_code == 0, found.output
    assert "confirmation  40" in found.stdout
    with pytest.raises(StudyError, match="corpuscle recommend"):
        raise CliRunner().invoke(app, ["run", str(file), "-o", str(tmp_path / "run")]).exception or AssertionError
    assert Study.read(file).spec.mixture is not None


@pytest.mark.slow
def test_a_search_on_a_cluster_comes_to_what_one_process_comes_to(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    alone, heard = recommend(file, tmp_path / "alone", workers=0), Heard()
    with dask_cluster(tmp_path / "dask") as cluster:
        cluster.add_worker("--nthreads", "2", nanny=True)
        shared = recommend(file, tmp_path / "shared", cluster=cluster.address, listener=heard)
    assert shared.advice == alone.advice
    for name, table in alone.tables.items():
        pd.testing.assert_frame_equal(shared.tables[name], table, check_exact=True, obj=name)
    # Connected once, for all stages.
    assert [line.startswith("Cluster: ") for line in heard.lines].count(True) == 1
    with pytest.raises(InputError, match="either workers"):
        recommend(file, tmp_path / "both", cluster="slurm", workers=1)
