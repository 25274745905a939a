"""The stages of a search, on made-up scores: nothing is opened or trained."""

import json
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from corpuscle import InputError, Study
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import completed
from corpuscle.oracle.answer import answered
from corpuscle.oracle.outputs import outputs_of
from corpuscle.oracle.recommendation import Recommendation
from corpuscle.oracle.search import Search, searched
from corpuscle.oracle.stages import Stage, Stages
from corpuscle.oracle.writing import write
from corpuscle.study.mixing import Ingredient, Mixing

STUDY = """
name = "worlds"
[sources]
a = { path = "a.h5ad" }
b = { path = "b.h5ad" }
c = { path = "c.h5ad" }
new = { path = "new.h5ad" }
[mixture]
sources = ["a", "b", "c"]
n_cells = 1000
proxy = { model = "ldvae", learning_rate = [0.005, 0.01] }
transfer = "scvi"
mixtures = 10
rounds = 1
tolerance = 0.01
runs = 170
[[models]]
name = "ldvae"
[[models]]
name = "scvi"
[[tasks]]
name = "reconstruction"
on = ["a", "new"]
"""
CELLS = {"a": 4000, "b": 1000, "c": 500}
# What a mixture scores: weights, target, model's label, a generator.
Law = Callable[[Mapping[str, float], str, str, np.random.Generator], float]


def law(weights: Mapping[str, float], target: str, model: str, rng: np.random.Generator) -> float:
    """Half a, half c is nearly the best; seeds scatter by a hundredth."""
    gain = sum(of * weights[name] ** 0.5 for name, of in (("a", 0.3), ("b", 0.05), ("c", 0.3)))
    return float(gain - (0.02 * weights["b"] if target == "new" else 0) + rng.normal(0, 0.01))


def stages_of(text: str = STUDY, **cells: int) -> Stages:
    sizes = {**CELLS, **cells}
    return Stages(Mixing(Study.parse(text), tuple(Ingredient(name, name, None, n) for name, n in sizes.items())))


def tried(stages: Stages, score: Law, runs: list[Stage] | None = None) -> Search:
    """Do a search in which a stage's scores are a function of its weights, seeds and models."""

    def run(stage: Stage) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
        if runs is not None:
            runs.append(stage)
        rows, failures = [], dict[str, str]()
        grid = product(stage.mixtures.iterrows(), [str(model["label"]) for model in stage.models], stage.seeds)
        for (mixture, row), model, seed in grid:
            for target in ("a", "new"):
                rng = np.random.default_rng([seed, len(rows)])
                value = score(row.to_dict(), target, model, rng)
                if value is None:
                    failures[f"{mixture} {seed}"] = "out of luck"
                else:
                    rows.append((str(mixture), model, seed, "reconstruction", target, "r2_log", "all", value))
        columns = ["corpus", "model", "seed", "task", "target", "metric", "unit", "value"]
        table = completed(pd.DataFrame(rows, columns=columns)).assign(better="higher", headline=True)
        fits = table[["corpus", "model", "seed"]].drop_duplicates().assign(r2_log=0.5, share_error=0.1)
        return table, fits, failures

    def measures(stage: Stage) -> pd.DataFrame:
        rows = [
            (name, "knn_distance", "new", "equal", 1 - row["b"], "lower") for name, row in stage.mixtures.iterrows()
        ]
        return pd.DataFrame(rows, columns=["corpus", "measure", "target", "size", "value", "better"])

    return searched(stages, outputs_of(stages.mixing.study), run, measures)


@pytest.fixture(scope="module")
def good() -> tuple[Search, list[Stage]]:
    """Search where there is something to find, once for the tests that only look at it."""
    runs: list[Stage] = []
    return tried(stages_of(), law, runs), runs


def test_a_search_finds_what_is_best_and_confirms_it_with_seeds_that_it_had_not_used(
    good: tuple[Search, list[Stage]], tmp_path: Path
) -> None:
    search, runs = good
    found = answered(search, tmp_path)
    assert [stage.name for stage in runs] == ["gate", "design", "round-1", "confirmation", "transfer"]
    assert not found.abstains
    assert found.weights["a"] == pytest.approx(0.5, abs=0.1)
    assert found.weights["c"] == pytest.approx(0.5, abs=0.1)
    before = {seed for stage in runs[:3] for seed in stage.seeds}
    assert len(runs[3].seeds) == 5
    assert not before & set(runs[3].seeds)
    assert sum(stage.n_runs for stage in runs) <= 170
    assert all(stage.mixtures.to_numpy().sum(axis=1) == pytest.approx(1) for stage in runs)
    shown = search.confirmed[(search.confirmed["output"] == "(utility)") & (search.confirmed["rival"] == "natural")]
    assert shown.iloc[0]["difference"] > 0
    assert shown.iloc[0]["p_holm"] < 0.05
    assert "better than natural" in found.advice
    card = found.tables["scorecard"].set_index("output")
    assert card["unseen"].to_dict() == {"r2_log on a": False, "r2_log on new": True, "(utility)": False}
    assert card.loc["r2_log on a", "held_out_rank_correlation"] > 0.8
    assert search.forecast["mean_rank"].iloc[0] == 1


def test_the_same_scores_lead_to_the_same_stages(good: tuple[Search, list[Stage]]) -> None:
    once, again = good[1], list[Stage]()
    tried(stages_of(), law, again)
    for one, other in zip(once, again, strict=True):
        pd.testing.assert_frame_equal(one.mixtures, other.mixtures)
        assert one.study(stages_of().mixing).text == other.study(stages_of().mixing).text


def test_scores_that_are_noise_are_no_advice_and_nothing_is_confirmed(tmp_path: Path) -> None:
    runs: list[Stage] = []
    found = answered(tried(stages_of(), lambda *given: float(given[-1].normal()), runs), tmp_path)
    assert found.abstains
    assert found.weights == {}
    assert found.advice.startswith("No advice: ")
    assert "natural proportions" in found.next_step
    assert {stage.name for stage in runs} <= {"gate", "design", "round-1"}


@pytest.mark.parametrize(
    ("upside_down", "said"),
    [("scvi", "the model scvi and the proxy rank"), ("0.01", "another setting of the proxy and the proxy rank")],
)
def test_ranks_that_do_not_carry_over_are_no_advice(tmp_path: Path, upside_down: str, said: str) -> None:
    def turned(weights: Mapping[str, float], target: str, model: str, rng: np.random.Generator) -> float:
        scatter = rng.normal(0, 0.05) if "0.01" in model else 0.0
        return law(weights, target, model, rng) * (-1 if upside_down in model else 1) + scatter

    found = answered(tried(stages_of(), turned), tmp_path)
    assert found.abstains
    assert said in found.advice


def test_the_calmer_setting_becomes_the_proxy_and_failed_trainings_are_missing_and_counted(tmp_path: Path) -> None:
    def wild(weights: Mapping[str, float], target: str, model: str, rng: np.random.Generator) -> Any:
        value = law(weights, target, model, rng)
        if "0.005" in model:
            return value + rng.normal(0, 0.2)
        return None if rng.random() < 0.1 else value

    search = tried(stages_of(), wild)
    found = answered(search, tmp_path)
    assert search.label == "ldvae (learning_rate = 0.01)"
    assert search.failures
    assert any("diverged or failed, and count as missing" in note for note in found.reasons)
    assert any("trainings that the surrogates learn from" in note for note in found.reasons)
    trials = found.tables["trials"]
    assert trials["r2_log on a"].isna().any()


@pytest.mark.parametrize(("n", "says"), [(4, "takes 8, and 5 for coverage."), (6, "a rank correlation takes 8.")])
def test_few_held_out_mixtures_are_said_to_test_little(n: int, says: str, tmp_path: Path) -> None:
    search = tried(stages_of(STUDY.replace("runs = 170", f"held_out = {n}\nruns = 200")), law)
    (note,) = (note for note in answered(search, tmp_path).reasons if "held-out" in note)
    assert note.startswith(f"{n} held-out mixtures test little: ")
    assert note.endswith(says)


def test_without_any_score_the_gate_says_which_training_failed() -> None:
    with pytest.raises(ModelError, match=r"none of 2 settings.*out of luck"):
        tried(stages_of(), lambda *_: None)  # type: ignore[arg-type,return-value]


def test_a_proxy_without_scores_and_without_a_gate_is_no_advice(tmp_path: Path) -> None:
    text = STUDY.replace(", learning_rate = [0.005, 0.01]", "")
    found: Recommendation = answered(tried(stages_of(text), lambda *_: None), tmp_path)  # type: ignore[arg-type,return-value]
    assert found.abstains
    assert "0 of the mixtures have scores" in found.advice


def test_caps_come_from_cells_repeats_and_the_prior() -> None:
    stages = stages_of(STUDY.replace("n_cells = 1000", "n_cells = 5000\nleave_prior = 2"), c=250)
    assert stages.caps["c"] == pytest.approx(min(4 * 250 / 5000, 2 * 250 / 5250), abs=1 / 5000)
    assert stages.caps["a"] == 1.0
    # What is drawn of usual mixtures is whole cells, and is compared: it is within them, too.
    assert (stages.usual <= pd.Series(stages.caps) + 1e-9).all(axis=None)
    assert (stages.design(stages.settings[0]).mixtures <= pd.Series(stages.caps) + 1e-3).all(axis=None)
    with pytest.raises(InputError, match="no mixture is within them"):
        stages_of(STUDY.replace("n_cells = 1000", "n_cells = 100_000"))


def test_what_fresh_seeds_show_to_be_better_is_advised_instead(tmp_path: Path) -> None:
    def alone(weights: Mapping[str, float], target: str, model: str, rng: np.random.Generator) -> float:
        # At a corner, which no law of diminishing returns can have.
        return law(weights, target, model, rng) + 0.5 * (weights["c"] > 0.999)

    search = tried(stages_of(), alone)
    found = answered(search, tmp_path)
    assert search.contenders[0] != "only c"
    assert not found.abstains
    assert found.weights == {"c": 1.0}
    assert found.facts["advised"] == "only c"
    assert found.advice.startswith("Train on 100 % c: fresh seeds show it (best single source")
    assert "which the search expected to be best" in found.advice
    assert "at full size; what the search says" in found.next_step
    write(found)
    assert json.loads((tmp_path / "recommendation.json").read_text())["weights"] == {"c": 1.0}


def test_what_limits_make_of_usual_mixtures_is_said(tmp_path: Path) -> None:
    found = answered(
        tried(stages_of(STUDY.replace("n_cells = 1000", "n_cells = 1000\nleave_prior = 1.1")), law), tmp_path
    )
    assert [note for note in found.reasons if note.startswith("Limits change uniform: it is ")]
    assert not [note for note in found.reasons if note.startswith("Limits change natural")]
    free = answered(tried(stages_of(), law), tmp_path)
    assert not [note for note in free.reasons if "Limits change" in note]


def test_rivals_of_which_fewer_than_two_fresh_seeds_are_there_are_named(tmp_path: Path) -> None:
    search = tried(stages_of(), law)
    natural = search.rivals["natural"]
    few = search.confirmed["rival"] == natural
    search.confirmed.loc[few, "n_seeds"] = 1
    search.confirmed.loc[few, ["difference", "low", "high", "p", "p_holm"]] = float("nan")
    search.confirmed.loc[~few, "n_seeds"] = 3
    found = answered(search, tmp_path)
    assert "With 3 fresh seeds" in found.advice
    assert "Fewer than two seeds have both it and natural" in found.advice
    assert "nan" not in found.advice


FRONT = STUDY.replace("n_cells = 1000", 'n_cells = 1000\ncombine = "pareto"')


def opposed(weights: Mapping[str, float], target: str, model: str, rng: np.random.Generator) -> float:
    """One target needs a, the other c; b helps neither."""
    return float(weights["a" if target == "a" else "c"] ** 0.5 + rng.normal(0, 0.01))


def test_a_front_has_its_ends_confirmed_and_says_what_is_traded(tmp_path: Path) -> None:
    runs: list[Stage] = []
    search = tried(stages_of(FRONT), opposed, runs)
    found = answered(search, tmp_path)
    assert not found.abstains
    assert "trade off" in found.advice
    assert "The trade-off holds" in found.advice
    assert "front.csv" in found.next_step
    mixtures = search.history.mixtures
    assert mixtures.loc[search.ends["r2_log on a"], "a"] > 0.8
    assert mixtures.loc[search.ends["r2_log on new"], "c"] > 0.8
    assert found.weights["a"] == pytest.approx(0.5, abs=0.15)
    assert found.weights["c"] == pytest.approx(0.5, abs=0.15)
    confirmed = next(stage for stage in runs if stage.name == "confirmation")
    assert set(search.contenders) <= {str(name) for name in confirmed.mixtures.index}
    table = found.tables["front"]
    assert table["mixture"].is_unique
    assert table["on_front"].between(0, 1).all()
    rows = found.tables["confirmation"]
    end = search.ends["r2_log on a"]
    assert (rows[(rows["mixture"] == end) & (rows["output"] == "r2_log on a")]["difference"] > 0).mean() > 0.5
    write(found)
    page = found.page.read_text()
    assert "r2_log on a against r2_log on new" in page
    assert "the balanced mixture is" in page


def test_scores_that_need_the_same_have_no_trade_off(tmp_path: Path) -> None:
    search = tried(stages_of(FRONT), law)
    found = answered(search, tmp_path)
    assert not found.abstains
    assert "no trade-off between" in found.advice
    assert search.ends == {}
    assert found.weights["a"] == pytest.approx(0.5, abs=0.15)


def test_scores_that_are_noise_have_no_front(tmp_path: Path) -> None:
    found = answered(tried(stages_of(FRONT), lambda *given: float(given[-1].normal())), tmp_path)
    assert found.abstains
    assert "a front needs two scores" in found.advice
    assert "front" not in found.tables


def test_it_says_which_scores_a_single_source_is_as_good_on_and_which_source_is_not_needed(tmp_path: Path) -> None:
    """Of two targets, one is taught by a alone, the other by a and c; b teaches neither."""

    def score(weights: Mapping[str, float], target: str, model: str, rng: np.random.Generator) -> float:
        of_c = 0.0 if target == "a" else 0.5 * weights["c"] ** 0.5
        return float(0.5 * weights["a"] ** 0.5 + of_c + rng.normal(0, 0.005))

    found = answered(tried(stages_of(c=4000), score), tmp_path)
    assert not found.abstains
    alone, without = found.reasons[:2]
    assert alone == "No mixture that was tried is shown to be better than a single source on r2_log on a (only a)."
    assert without == "Without b, less than 0.01 SD of utility is expected to be lost."
