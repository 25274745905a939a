"""What seeds repeat is known before anything is trained, and warned of where it is not what a reader would think."""

import numpy as np
import pytest

from corpuscle.corpus.recipe import Part, Recipe
from corpuscle.corpus.samplers.label_balanced import LabelBalanced
from corpuscle.corpus.samplers.uniform import Uniform
from corpuscle.study.preparation import prepare
from corpuscle.study.replicates import draw_facts, draw_overlap
from corpuscle.study.spec import Study

PCA, MEAN = '{ name = "pca", n_components = 2 }', '{ name = "toy:MeanProfile" }'


@pytest.fixture(autouse=True)
def _cells_are_not_too_poor(monkeypatch):
    """Leave out the warning of cells with few genes: the files of these tests have thirty."""
    monkeypatch.setattr("corpuscle.study.overlaps.undecidable", lambda *_: ())


@pytest.fixture
def planned(tmp_path, write):
    """Plan a study of one corpus of two sources of 100 cells; blood's are all for training."""
    for seed, name in enumerate(("blood", "pancreas", "target")):
        write(name, 100, seed=seed)

    def plan(parts: str, *, seeds: int = 3, models: str = MEAN, rest: str = ""):
        sources = "".join(
            f'{name} = {{ path = "{name}.h5ad", donors = "own" }}\n' for name in ("blood", "pancreas", "target")
        )
        on = '{ name = "reconstruction", on = ["target"] }'
        text = (
            f'name = "s"\nseeds = {seeds}\nmodels = [{models}]\ntasks = [{on}]\n'
            f'corpora = [{{ name = "A", parts = [{parts}]{rest} }}]\n[sources]\n{sources}'
        )
        return prepare(Study.parse(text, tmp_path))

    return plan


def part(source: str, size: str, more: str = "") -> str:
    return f'{{ source = "{source}", {size}{more} }}'


def warned(plan) -> dict[str, str]:
    return {warning.place: warning.message for warning in plan.warnings}


def test_small_draws_at_several_seeds_are_fine(planned):
    plan = planned(part("blood", "n_cells = 20"))
    assert plan.warnings == ()
    (row,) = plan.draws.to_dict("records")
    assert (row["corpus"], row["source"], row["n_cells"], row["pool"], row["share"]) == ("A", "blood", 20, 100, 0.2)
    assert 0 < row["overlap"] < 0.5


@pytest.mark.parametrize("size", ["fraction = 1.0", "n_cells = 100"])
def test_the_same_cells_at_every_seed_are_warned_of_by_model(planned, size):
    message = warned(planned(part("blood", size), models=f"{PCA}, {MEAN}"))["corpora[0]"]
    assert message == (
        "every seed draws the same cells (A): with pca (no randomness), the 3 seeds are one replicate and have "
        "no interval; with toy:MeanProfile, intervals are about these cells only, not about their sources. "
        "Ask for fewer cells"
    )


def test_large_draws_are_warned_of_with_their_share(planned):
    message = warned(planned(part("blood", "n_cells = 10") + "," + part("pancreas", "n_cells = 60")))["corpora[0]"]
    assert "more than 20% of a pool" in message
    assert "A 60% of pancreas (60 of 100)" in message


def test_two_parts_of_one_source_count_together(planned):
    plan = planned(part("blood", "n_cells = 15") + "," + part("blood", "n_cells = 15"))
    assert plan.draws["share"].tolist() == [0.3]
    assert "A 30% of blood" in warned(plan)["corpora[0]"]


def test_a_share_is_of_what_is_left_after_exclude(planned):
    plan = planned(part("blood", "n_cells = 18"), rest=", exclude = \"cell_type == 'B'\"")
    (row,) = plan.draws.to_dict("records")
    assert row["pool"] < 100
    assert row["share"] == 18 / row["pool"]


def test_a_source_wholly_used_beside_one_that_is_not(planned):
    plan = planned(part("blood", "fraction = 1.0") + "," + part("pancreas", "n_cells = 10"))
    assert plan.draws.set_index("source")["overlap"]["blood"] == 1
    assert "A 100% of blood (100 of 100)" in warned(plan)["corpora[0]"]


def test_one_seed_is_warned_of(planned):
    assert "with one seed nothing has an interval" in warned(planned(part("blood", "n_cells = 20"), seeds=1))["seeds"]


def test_steps_that_change_cells_count_what_was_drawn(planned):
    step = ', steps = [{ alteration = "thin", keep = 0.5 }]'
    plan = planned(part("blood", "n_cells = 50"), rest=step)
    assert plan.draws["share"].tolist() == [0.5]
    half = planned(part("blood", "fraction = 1.0"), rest=', steps = [{ alteration = "downsample", keep = 0.1 }]')
    assert half.draws["share"].tolist() == [pytest.approx(0.1)]


def test_overlap_counts_how_often_cells_are_used():
    one, other = np.array([[0, 3], [1, 1]]), np.array([[0, 1], [2, 3]])
    # Two draws' sums of independent cells: covariance 3 · 1, mean variance (10 + 10) / 2.
    assert draw_overlap([one, other]) == pytest.approx(0.3)
    assert np.isnan(draw_overlap([one]))


def test_draws_that_take_all_of_a_rare_type_share_more_than_their_share(make):
    pool = make(100, obs={"cell_type": ["B"] * 92 + ["rare"] * 8})
    facts = {}
    for name, sampler in (("even", Uniform()), ("balanced", LabelBalanced())):
        recipe = Recipe(name, (Part("blood", sampler, n_cells=16),))
        facts[name] = draw_facts(recipe, {"blood": pool}, [recipe.draw({"blood": pool}, seed) for seed in range(6)])
    assert facts["balanced"]["share"][0] == facts["even"]["share"][0] == 0.16
    assert facts["balanced"]["overlap"][0] > 0.5 > facts["even"]["overlap"][0]
