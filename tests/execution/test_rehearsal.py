"""How long a study takes, by trying it out on a few cells: what counts, what is left behind, and what may go wrong."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle.core.components import build
from corpuscle.evaluation.task import Task
from corpuscle.execution import workflow
from corpuscle.execution.artifact import Address
from corpuscle.execution.graph import runs_of
from corpuscle.execution.listener import Listener
from corpuscle.execution.opened import Opened
from corpuscle.execution.rehearsal import rehearse as rehearsing
from corpuscle.execution.rehearsal.estimate import PAGE, estimated, needs_of
from corpuscle.execution.rehearsal.growth import Size, Timed, seconds_at
from corpuscle.execution.rehearsal.rehearse import Like, Limits, Rehearsed, model_key, rehearse
from corpuscle.execution.rehearsal.shortened import Length, length_of, short_model, short_tasks
from corpuscle.execution.remaining import Part, Remaining
from corpuscle.model.model import Model
from corpuscle.study.plan import Plan

STUDY = """
name = "toy"
seeds = 2
[sources]
blood = { path = "blood.h5ad" }
[quality]
min_genes = 1
[holdout]
blood = { by = "cell", share = 0.25 }
[[corpora]]
name = "A"
parts = [{ source = "blood", n_cells = 90 }]
[[corpora]]
name = "B"
parts = [{ source = "blood", n_cells = 120 }]
STEPS
[[models]]
MODEL
[[tasks]]
TASK
on = ["blood"]
"""
IMPUTED = (
    'steps = [{ alteration = "thin", keep = 0.5 }, '
    '{ alteration = "impute_rare", threshold = 30, model = "toy:MeanProfile" }]'
)
MODEL = 'name = "toy:MeanProfile"'
PlanOf = Callable[..., Plan]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 240 cells of 40 genes, of three types."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("cells")
    types = np.repeat(["common", "other", "rare"], [120, 90, 30])
    counts = rng.poisson(2.0, (240, 40)).astype(np.float32) + (rng.random((240, 40)) < 0.1)
    obs = pd.DataFrame({"cell_type": types}, index=[f"c{at}" for at in range(240)])
    data = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{at}" for at in range(40)]))
    data.write_h5ad(folder / "blood.h5ad")
    return folder


@pytest.fixture
def plan_of(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanOf:
    """Prepare a study with parts of its own; temporary files go into a folder that a test can look into."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(rehearsing, "ROUNDS", (Size(40, 40), Size(40, 60)))
    monkeypatch.setattr(workflow, "written", lambda *_: None)

    def planned(
        model: str = MODEL, task: str = 'name = "reconstruction"', steps: str = "", top: str = "seeds = 2"
    ) -> Plan:
        text = STUDY.replace("STEPS", steps).replace("MODEL", model).replace("TASK", task).replace("seeds = 2", top)
        return corpuscle.prepare(corpuscle.Study.parse(text, cells))

    return planned


# --- growth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("takes", "within"),
    [
        (lambda train, target: 3.0, 1.001),
        (lambda train, target: 1 + target / 50, 1.001),
        (lambda train, target: 1 + train / 50 + target / 20, 1.001),
        (lambda train, target: (target / 100) ** 2, 1.001),
        (lambda train, target: 0.2 + train / 500 + (target / 300) ** 2, 2.5),
        (lambda train, target: np.sqrt(target), 3.0),
    ],
    ids=["constant", "line", "both", "square", "mixed", "root"],
)
def test_time_is_followed_to_ten_times_the_cells(takes: Callable[[int, int], float], within: float) -> None:
    seen = [Timed(size, takes(*size)) for size in (Size(64, 256), Size(256, 256), Size(256, 1024), Size(1024, 1024))]
    ratio = seconds_at(Size(10_000, 10_000), seen) / takes(10_000, 10_000)
    assert 1 / within <= ratio <= within


def test_what_was_timed_at_its_size_takes_as_long_again() -> None:
    assert seconds_at(Size(64, 64), [Timed(Size(64, 32), 9.0), Timed(Size(64, 64), 2.0)]) == 2.0


def test_nothing_is_followed_more_steeply_than_squares() -> None:
    cubes = [Timed(Size(0, n), n**3 / 1e6) for n in (100, 200)]
    assert seconds_at(Size(0, 2000), cubes) == pytest.approx(8 * 10**2)


# --- short trainings --------------------------------------------------------------------------------------------------


def test_models_and_tasks_get_short_trainings_wherever_they_have_any() -> None:
    model = short_model(build(Model, "ldvae", {"budget": {"epochs": 400, "patience": 45}, "n_hidden": 16}))
    assert (model.n_steps(5000), model.spec()["n_hidden"]) == (2, 16)
    pca = build(Model, "pca", {})
    assert short_model(pca) is pca
    tuned = build(Task, "annotation", {"fine_tune": ["frozen"], "training": {"budget": {"steps": 300}}})
    assert length_of(tuned) == Length(300, "steps")
    budgets = [(length.number, task.spec()["training"]["budget"]["steps"]) for length, task in short_tasks(tuned)]
    assert budgets == [(2, 2), (22, 22)]
    published = build(Task, "annotation", {"fine_tune": ["frozen"]})
    assert length_of(published) == Length(500, "epochs")
    assert [length for length, _ in short_tasks(published)] == [Length(1, "epochs"), Length(4, "epochs")]
    for name in ("reconstruction", "annotation"):
        plain = build(Task, name, {})
        assert [*short_tasks(plain)] == [(Length(), plain)]


# --- what counts ------------------------------------------------------------------------------------------------------


def test_all_that_a_run_makes_is_counted_and_nothing_else(plan_of: PlanOf, cells: Path, tmp_path: Path) -> None:
    plan = plan_of(steps=IMPUTED)
    before, after = needs_of(plan, tmp_path / "store")
    corpuscle.run(plan.study, tmp_path / "out", workers=0)
    counted = {(address.kind, address.key) for address in (*before, *after)}
    kinds = {"components", "measures", "made_cells", "models", "scores"}
    made = {(path.parts[-3], path.parts[-2]) for path in (tmp_path / "out" / "store").glob("*/*/made.json")}
    assert counted == {one for one in made if one[0] in kinds}
    assert {kind for kind, _ in counted} == kinds


def test_maps_are_counted(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(task='name = "clustering"')
    _, after = needs_of(plan, tmp_path / "store")
    runs = runs_of(plan, Opened(tmp_path / "other").corpora)
    assert after.keys() == {artifact.address for run in runs for artifact in run.all}
    assert sum(address.kind == "maps" for address in after) == 2
    _, without = needs_of(plan_of(task='name = "clustering"', top="seeds = 2\nmaps = false"), tmp_path / "store")
    assert without.keys() == {address for address in after if address.kind != "maps"}


def _found(plan: Plan) -> Rehearsed:
    """Return what a rehearsal finds on a machine where everything takes whole seconds."""
    steps = {model_key(one.model): 0.1 for one in plan.study.models}
    seen = {
        Like("components"): [Timed(Size(180), 1.0)],
        Like("measures"): [Timed(Size(40, 40), 2.0), Timed(Size(40, 60), 2.0), Timed(Size(90, 60), 2.0)],
        Like("models", model="toy:MeanProfile"): [Timed(Size(40), 3.0), Timed(Size(60), 3.0)],
    }
    scores = [Timed(Size(40, 40), 5.0), Timed(Size(40, 60), 5.0), Timed(Size(60, 60), 5.0)]
    seen[Like("scores", "reconstruction", "toy:MeanProfile")] = scores
    rows = {Like("scores", "reconstruction", "toy:MeanProfile"): (0, 0)}
    return Rehearsed(seen, {Like("measures"): 0.5}, steps, rows, start=4.0)


def test_parts_are_sums_over_processes(plan_of: PlanOf) -> None:
    plan = plan_of()
    one = estimated(plan, _found(plan), 1, preparing=7.0)
    # 90 and 120 steps, twice each; four corpora and seeds.
    assert one.preparing == 7
    assert one.measuring == pytest.approx(4 + 1 + 4 * 2 + 0.5)
    assert one.training == pytest.approx(4 * 3 + 0.1 * 2 * (90 + 120))
    assert one.asking == pytest.approx(4 * 5)
    assert (one.report, one.unknown) == (PAGE, ())
    assert one.seconds == pytest.approx(7 + 13.5 + 54 + 20 + PAGE)
    two = estimated(plan, _found(plan), 2)
    assert two.training + two.asking == pytest.approx(37)
    many = estimated(plan, _found(plan), 64)
    assert many.training + many.asking == pytest.approx(3 + 12 + 5), "scores wait for their model"


def test_trainings_in_tasks_take_as_much_longer_as_they_are(plan_of: PlanOf) -> None:
    budget = "training = { budget = { steps = 302 } }"
    plan = plan_of(task=f'name = "annotation"\nfine_tune = ["frozen"]\n{budget}')
    found = _found(plan)
    like = Like("scores", "annotation", "toy:MeanProfile")
    for number, seconds in ((2, 1.0), (22, 3.0)):
        found.seen[like._replace(length=Length(number, "steps"))] = [Timed(Size(120, 60), seconds)] * 2
    maps = Like("maps", model="toy:MeanProfile")
    found.seen[maps] = [Timed(Size(0, 60), 0.0)]
    asked = estimated(plan, found, 1).asking / 4
    assert asked == pytest.approx(1.0 + 300 * 0.1, rel=0.3), "sizes differ a little"


def test_what_was_tried_with_few_cells_grows_as_what_was_tried_with_more(plan_of: PlanOf) -> None:
    plan = plan_of('name = "toy:MeanProfile"\n[[models]]\nname = "toy:MeanProfile"\nlabel = "second"\ntrouble = "C"')
    found = _found(plan)
    first = Like("scores", "reconstruction", "toy:MeanProfile")
    found.seen[first] = [Timed(Size(40, 40), 1.0), Timed(Size(120, 60), 10.0)]
    found.seen[first._replace(model="second")] = [Timed(Size(40, 40), 2.0)]
    # There are 180 cells to train on, of which 90 and 120 are drawn, and 60 to ask on.
    assert estimated(plan, found, 1).asking >= 2 * (10.0 + 20.0)


def test_what_could_not_be_tried_takes_the_time_of_what_is_alike_and_else_is_not_known(plan_of: PlanOf) -> None:
    second = 'name = "toy:MeanProfile"\n[[models]]\nname = "toy:MeanProfile"\nlabel = "second"\ntrouble = "C"'
    plan = plan_of(second)
    found = _found(plan)
    alike = estimated(plan, found, 1)
    assert alike.asking == pytest.approx(2 * 4 * 5)
    assert alike.unknown == ()
    del found.seen[Like("scores", "reconstruction", "toy:MeanProfile")]
    found.failures[Like("scores", "reconstruction", "second")] = "ZeroDivisionError: a bug"
    unknown = estimated(plan, found, 1)
    assert unknown.asking == 0
    assert unknown.unknown == (
        "task reconstruction of toy:MeanProfile",
        "task reconstruction of second (ZeroDivisionError: a bug)",
    )


# --- what is left of a run -------------------------------------------------------------------------------------------


def test_no_time_left_is_shown_before_every_kind_is_known() -> None:
    fit, score = (
        Part(Address(kind, "1"), (kind, "model"), weight) for kind, weight in (("models", 100), ("scores", 1))
    )
    clock = iter([0.0, 1.0, 60.0, 60.0])
    remaining = Remaining([fit, score, fit._replace(address=Address("models", "2"))], 1, lambda: next(clock))
    remaining.update(fit.address, 0.0)
    remaining.update(fit.address, 0.001)
    assert remaining.seconds() is None
    remaining.update(fit.address, 1.0)
    assert remaining.seconds() is None, "a task may take longer than all trainings"
    remaining.learn(score.like, 2.0, 60.0)
    assert remaining.seconds() == pytest.approx(60 + 30)


def test_the_first_moments_of_a_training_are_no_measure_of_the_rest() -> None:
    clock = iter([0.0, 30.0, 35.0])
    part = Part(Address("models", "1"), ("models", "model"), 2000.0)
    remaining = Remaining([part], 1, lambda: next(clock))
    for share, known in ((0.0, False), (0.001, False), (0.1, True)):
        remaining.update(part.address, share)
        assert (remaining.seconds() is not None) == known


def test_a_run_that_goes_on_knows_what_earlier_ones_took(plan_of: PlanOf, tmp_path: Path) -> None:
    class Heard(Listener):
        def __init__(self) -> None:
            self.times: list[float] = []

        def left(self, seconds: float) -> None:
            self.times.append(seconds)

    plan = plan_of()
    assert not corpuscle.run(plan.study, tmp_path / "out", workers=0).failures
    for name in ("models", "scores"):
        shutil.rmtree(min((tmp_path / "out" / "store" / name).iterdir()))
    heard = Heard()
    corpuscle.run(plan.study, tmp_path / "out", workers=0, listener=heard)
    assert len(heard.times) >= 4, "before the first of each was made anew, too"


# --- the rehearsal ----------------------------------------------------------------------------------------------------


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_everything_is_tried_out_and_nothing_is_left(
    plan_of: PlanOf, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cells)
    before, said = _left(cells), list[float]()
    found = rehearse(plan_of(steps=IMPUTED), lambda _what, share: said.append(share), workers=0)
    assert found.failures == {}
    kinds = ["step_seconds", "components", "measures", "models", "scores"]
    assert list(dict.fromkeys(like.kind for like in found.seen)) == kinds
    assert {like.kind for like in found.warm_up} == set(kinds[1:])
    assert found.seen[Like("scores", "reconstruction", "toy:MeanProfile")][-1].size == Size(40, 60)
    assert list(found.step_seconds.values()) == [1e-6]
    assert said
    assert (_left(cells), _left(tmp_path)) == (before, ["temporary"])


def test_a_rehearsal_stops_when_its_time_is_over(plan_of: PlanOf) -> None:
    hours = iter(range(0, 10_000, 1))
    found = rehearse(plan_of(), limits=Limits(most=8.0), workers=0, clock=lambda: float(next(hours)))
    assert 0 < len(found.seen) < 4
    assert found.failures[Like("")] == "there was no time to try it"
    found = rehearse(plan_of(), limits=Limits(seconds=-1.0), workers=0)
    assert found.seen == {}


@pytest.mark.parametrize(
    ("model", "task", "said"),
    [
        ('name = "toy:Impatient"', 'name = "reconstruction"', "it called sys.exit('no time')"),
        ('name = "toy:MeanProfile"\ntrouble = "B"', 'name = "reconstruction"', "it was told to fail"),
        (MODEL, 'name = "perturbation"\ncondition = "cell_type"\ncontrol = "no"\ntreated = "none"', None),
    ],
    ids=["steps", "fit", "task without an answer"],
)
def test_what_fails_in_the_small_fails_no_check(plan_of: PlanOf, model: str, task: str, said: str | None) -> None:
    plan = plan_of(model, task)
    found = rehearse(plan, workers=0)
    why = " ".join(found.failures.values())
    assert (said is None and not why) or (said is not None and said in why)
    guess = estimated(plan, found, 1)
    assert guess.seconds > 0
    assert bool(guess.unknown) == (said is not None)


def test_a_model_that_ends_its_process_ends_not_the_check(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of('name = "toy:MeanProfile"\ntrouble = "B"\nkind_of_trouble = "os_exit"')
    # Workers are not forked where temporary files have long names, and then start slowly.
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(rehearsing, "ROUNDS", (Size(40, 40),))
    found = rehearse(plan, limits=Limits(most=600.0))
    assert "ended itself with exit code 3" in found.failures[Like("models", model="toy:MeanProfile")]
    assert Like("measures") in found.seen


def test_no_program_is_run(plan_of: PlanOf, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    command = f'command = "{sys.executable} {{script}} {{cells}} {{embedding}}"\nfiles = {{ script = "{script}" }}'
    plan = plan_of(f'name = "external"\n{command}')
    guess = estimated(plan, rehearse(plan, workers=0), 1)
    assert not (tmp_path / "ran").exists()
    assert "training external, which runs a program of yours" in guess.unknown
    assert any("of external" in one for one in guess.unknown if "task" in one)
