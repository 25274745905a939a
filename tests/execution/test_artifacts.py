"""Artifacts: what a worker is sent, what a failure costs, and what is made where."""

import os
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import corpuscle
from corpuscle.execution import engine, local, measuring, workers
from corpuscle.execution.artifact import Address, Artifact
from corpuscle.execution.artifacts import Fit, MadeCells, Measures
from corpuscle.execution.graph import RunShares, runs_of
from corpuscle.execution.opened import Opened
from corpuscle.execution.workers import Update
from corpuscle.model.training import checkpoints
from corpuscle.study.plan import Run

FAILING = "toy:FailsOnA"
MEAN = 'name = "toy:MeanProfile"'
STUDY = """
name = "graph"
seeds = 1
sources.blood = {{ path = "blood.h5ad" }}
holdout.blood = {{ by = "cell", share = 0.2 }}
quality = {{ min_counts = 1, min_genes = 1 }}
[[corpora]]
name = "A"
parts = [{{ source = "blood", n_cells = {n_cells} }}]
[[corpora]]
name = "Filled"
parts = [{{ source = "blood", n_cells = {n_cells} }}]
steps = [{{ alteration = "impute_rare", threshold = 25, model = "toy:MeanProfile", settings = {{ {settings} }} }}]
[[models]]
{model}
[[tasks]]
name = "latents"
reference_corpus = "A"
on = ["blood"]
[[tasks]]
name = "{task}"
on = ["blood"]
"""


@pytest.fixture
def plan(tmp_path: Path, write: Callable[..., Path]) -> Callable[..., Any]:
    def prepared(n_cells: int = 40, settings: str = "", task: str = "reconstruction", model: str = MEAN) -> Any:
        n = 2 * n_cells
        write("blood", n, obs={"cell_type": ["NK" if at % 6 == 0 else "B" for at in range(n)]})
        text = STUDY.format(n_cells=n_cells, settings=settings, task=task, model=model)
        return corpuscle.prepare(corpuscle.Study.parse(text, tmp_path), Opened(tmp_path / "store").store)

    return prepared


def everything(plan: Any, opened: Opened) -> list[Artifact]:
    """List the artifacts of a study, with what they are made from."""
    found: dict[Address, Artifact] = {}

    def add(artifact: Artifact) -> None:
        for before in (*artifact.inputs, *artifact.better_after):
            add(before)
        found[artifact.address] = artifact

    for run in runs_of(plan, opened.corpora):
        for artifact in run.all:
            add(artifact)
    for artifact in measuring.artifacts_of(plan, opened.corpora, measuring.cell_types_of(plan)).values():
        add(artifact)
    return [*found.values()]


def test_what_a_worker_is_sent_is_small_whatever_the_size_of_the_corpus(
    plan: Callable[..., Any], tmp_path: Path
) -> None:
    sizes = []
    for n_cells in (40, 120):
        found = everything(plan(n_cells), Opened(tmp_path / "store"))
        assert {one.kind for one in found} == {"made_cells", "models", "scores", "components", "measures"}
        sizes.append({f"{one.kind} {one.label}": len(pickle.dumps(one)) for one in found})
    assert sizes[0] == sizes[1]
    assert max(sizes[0].values()) < 10_000


def test_a_failure_costs_only_what_needs_it(plan: Callable[..., Any], tmp_path: Path) -> None:
    given = plan(task=FAILING)
    results = corpuscle.run(given.study, tmp_path / "out", workers=0)
    run = Run("A", "toy:MeanProfile", 0)
    assert set(results.failures) == {run}
    assert "ZeroDivisionError: a bug" in results.failures[run]
    found = results.scores.groupby(["corpus", "task"]).size()
    assert ("A", "latents") in found.index
    assert ("Filled", FAILING) in found.index
    assert ("A", FAILING) not in found.index


def test_cells_that_cannot_be_made_cost_the_runs_that_need_them(plan: Callable[..., Any], tmp_path: Path) -> None:
    given = plan(settings='trouble = "Filled"')
    results = corpuscle.run(given.study, tmp_path / "out", workers=0)
    assert set(results.failures.values()) == {"it was told to fail"}
    assert [run.corpus for run in results.failures] == ["Filled"]
    assert set(results.scores.corpus) == {"A"}
    measures = corpuscle.describe(given.study, workers=0).measures
    counts = measures[(measures["corpus"] == "Filled") & (measures["measure"] == "counts")]
    assert counts["value"].isna().all()
    assert counts["reason"].str.contains("it was told to fail").all()


def test_what_is_made_is_made_in_workers_and_once(plan: Callable[..., Any], tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    given = plan(settings=f'marks = "{marks}"', task=FAILING)
    results = corpuscle.run(given.study, tmp_path / "out", workers=2)
    assert marks.read_text().splitlines() == ["Filled " + marks.read_text().split()[1]]
    (pid,) = results.scores.query("metric == 'answer'")["value"]
    assert pid != os.getpid()
    kinds = {folder.name for folder in (tmp_path / "out" / "store").iterdir()}
    assert {"made_cells", "measures", "models", "scores", "derived"} <= kinds


def test_nothing_is_made_that_nothing_lacking_needs(plan: Callable[..., Any], tmp_path: Path) -> None:
    given, opened = plan(), Opened(tmp_path / "store")
    wanted = [artifact for run in runs_of(given, opened.corpora) for artifact in run.all]
    heard: list[Update] = []
    assert engine.execute(wanted, opened.corpora, 0, heard.append) == {}
    made = {news.address for news in heard if news.share == 1}
    assert made == {one.address for one in everything(given, opened) if one.kind not in ("components", "measures")}
    assert engine.execute(wanted, opened.corpora, 0, heard.clear) == {}  # type: ignore[arg-type]
    # Made cells are for the models: where these are there, nobody misses them.
    (cells,) = (one for one in everything(given, opened) if isinstance(one, MadeCells))
    folder = opened.store.folder(*cells.address)
    (folder / "counts.h5ad").unlink()
    assert engine.execute(wanted, opened.corpora, 0, heard.append) == {}
    assert (folder / "checksums.json").exists()


def test_what_is_drawn_by_a_name_is_drawn_anew_for_another(plan: Callable[..., Any], tmp_path: Path) -> None:
    text, corpora = plan().study.text, Opened(tmp_path / "store").corpora
    renamed = {
        "task": text.replace('name = "latents"', 'name = "latents"\nlabel = "shared"'),
        "target": text.replace('on = ["blood"]', 'on = [{ source = "blood", name = "all" }]'),
    }
    before, *after = (
        {asked.key for one in runs_of(corpuscle.prepare(corpuscle.Study.parse(each, tmp_path)), corpora)
         for asked in one.scores}
        for each in (text, *renamed.values())
    )  # fmt: skip
    assert len(before) == 4
    assert [len(before & keys) for keys in after] == [2, 0]


def test_what_is_ready_is_chosen_by_what_is_open_then_in_order(tmp_path: Path) -> None:
    def fake(key: str, together: str, *, on_gpu: bool = False) -> Any:
        return SimpleNamespace(
            address=Address("x", key), inputs=(), better_after=(), corpora=(), together=together, uses_gpu=on_gpu
        )

    wanted = [fake("a", "m"), fake("b", "m"), fake("c", "n", on_gpu=True), fake("d", "n"), fake("e", "o")]
    undone = engine._Undone(wanted, Opened(tmp_path / "store").corpora)
    one, other = (SimpleNamespace(last="", artifact=None) for _ in range(2))
    chosen = []
    for worker, with_gpu in ((one, True), (other, False), (one, True), (other, True), (one, True), (one, True)):
        elsewhere = {each.last for each in (one, other) if each is not worker and each.artifact}
        if artifact := undone.next(worker.last, elsewhere, with_gpu=with_gpu):
            worker.last, worker.artifact = artifact.together, artifact
        chosen.append(artifact and artifact.address.key)
    assert chosen == ["a", "d", "b", "c", "e", None]


def test_the_shares_of_runs_add_up(plan: Callable[..., Any], tmp_path: Path) -> None:
    runs = runs_of(plan(), Opened(tmp_path / "store").corpora)
    shares, last = RunShares(runs, []), dict[Run, float]()
    for one in runs:
        for at, artifact in enumerate(one.all):
            for share in (0.5, 1.0):
                found = shares.update(artifact.address, share)
                assert found[one.run] > last.get(one.run, 0)
                last |= found
            if isinstance(artifact, Fit):
                assert last[one.run] == pytest.approx(0.99)
                assert at == 0
    assert all(share == pytest.approx(1) for share in last.values())


def test_measures_are_made_after_what_they_share(plan: Callable[..., Any], tmp_path: Path) -> None:
    found = everything(plan(), Opened(tmp_path / "store"))
    measures = [one for one in found if isinstance(one, Measures)]
    assert {one.components[0].address for one in measures} == {one.address for one in found if one.kind == "components"}
    assert len(measures) == 2


def test_a_gpu_has_one_model_at_a_time(
    plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = tmp_path / "marks"
    one = f'name = "toy:OnGpu"\nmarks = "{marks}"'
    given = plan(model=f'{one}\n[[models]]\n{one}\nlabel = "another"\ntrouble = "nowhere"')
    # A name that any machine has: what is looked at is who is given it, and when.
    monkeypatch.setattr(local, "gpus_of", lambda _pool: ["cpu"])
    assert not corpuscle.run(given.study, tmp_path / "out", workers=2).failures
    notes = [line.split() for line in marks.read_text().splitlines()]
    assert {(where, what) for _, _, where, what in notes} == {("cpu", "fit"), ("cpu", "embed")}
    times = sorted((float(start), float(end)) for start, end, *_ in notes)
    assert all(end <= start for (_, end), (start, _) in pairwise(times)), "what one is asked waits for another's fit"


def test_the_memory_of_a_gpu_is_given_back_for_the_next_workers_model(
    plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, opened, heard = plan(), Opened(tmp_path / "store"), []
    (fit, *_) = (one.fit for one in runs_of(given, opened.corpora))
    opened.corpora.ensure(fit.corpus)
    monkeypatch.setattr(workers, "_opened", opened, raising=False)
    monkeypatch.setattr(workers, "_news", SimpleNamespace(send=heard.append), raising=False)
    monkeypatch.setenv("CORPUSCLE_DEVICE", "")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: heard.append("given back"))
    assert workers.make_in_worker(fit, "cpu") is None
    assert heard[-1] == "given back"
    assert workers.make_in_worker(fit, "") is None
    assert heard[-1] != "given back"


def test_a_fit_keeps_checkpoints_until_it_is_done(
    plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, opened, seen = plan(model='name = "ldvae"\nbudget = { steps = 4 }'), Opened(tmp_path / "store"), []
    real = checkpoints.checkpoints_in
    monkeypatch.setattr(checkpoints, "checkpoints_in", lambda folder: seen.append(folder) or real(folder))
    runs = runs_of(given, opened.corpora)
    assert engine.execute([one.fit for one in runs], opened.corpora, 0, lambda _news: None) == {}
    assert seen == [opened.store.unfinished(one.fit.key) for one in runs]
    assert not [*(opened.store.root / "unfinished").iterdir()]


NONSENSE = """
from corpuscle.core.components import component
from corpuscle.core.scores import Metric
from corpuscle.evaluation.task import Task
from toy import FittedMeanProfile, MeanProfile

class Fitted(FittedMeanProfile):
    def embed(self, cells):
        return super().embed(cells)[1:]

@component
class Shorter(MeanProfile):
    def fit(self, corpus, seed, progress=None):
        if self.marks == "progress":
            progress("much")
        fitted = super().fit(corpus, seed)
        return Fitted(fitted.genes, fitted.profile)

@component
class Twice(Task):
    metrics = (Metric("answer", "Answer", "One."),)
    value: str = "twice"

    def run(self, model, train, target, rng):
        yield "no score" if self.value == "none" else self.metrics[0].score("all", 1.0, len(target))
        yield self.metrics[0].score("all", 1j if self.value == "complex" else 1.0, len(target))
"""


def test_nonsense_of_a_users_own_is_named_and_costs_only_its_run(
    plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nonsense.py").write_text(NONSENSE)
    monkeypatch.syspath_prepend(str(tmp_path))
    tasks = "".join(
        f'[[tasks]]\nname = "nonsense:Twice"\nlabel = "{value}"\nvalue = "{value}"\non = ["blood"]\n'
        for value in ("twice", "none", "complex")
    )
    models = f'{MEAN}\n[[models]]\nname = "nonsense:Shorter"\n[[models]]\nname = "nonsense:Shorter"\n'
    given = plan(model=f'{models}label = "loud"\nmarks = "progress"', task="resources")
    text = given.study.text.split('[[corpora]]\nname = "Filled"')
    text = text[0] + "[[models]]" + text[1].split("[[models]]", 1)[1] + tasks
    results = corpuscle.run(corpuscle.Study.parse(text, tmp_path), tmp_path / "out", workers=0)
    said = {run.model: why for run, why in results.failures.items()}
    assert "task 'nonsense:Twice' yielded two values of 'answer' of 'all'" in said["toy:MeanProfile"]
    assert "yielded 'no score', which is no Score" in said["toy:MeanProfile"]
    assert "whose value is 1j, not a number" in said["toy:MeanProfile"]
    assert "Fitted.embed gave float32 of shape (15, 1) for 16 cells" in said["nonsense:Shorter"]
    assert "model 'nonsense:Shorter' failed: ValueError" in said["loud"]
    assert "resources" in set(results.scores["task"])
    assert results.report.exists()


def test_a_file_that_was_moved_or_touched_is_read_where_it_is_now(plan: Callable[..., Any], tmp_path: Path) -> None:
    text = plan().study.text
    assert not corpuscle.run(corpuscle.Study.parse(text, tmp_path), tmp_path / "out", workers=0).failures
    (tmp_path / "moved").mkdir()
    file = (tmp_path / "blood.h5ad").rename(tmp_path / "moved" / "blood.h5ad")
    os.utime(file, (1, 1))
    more = text.replace("blood.h5ad", "moved/blood.h5ad") + '[[tasks]]\nname = "resources"\non = ["blood"]\n'
    results = corpuscle.run(corpuscle.Study.parse(more, tmp_path), tmp_path / "out", workers=0)
    assert not results.failures
    assert "resources" in set(results.scores["task"])
    assert len([*(tmp_path / "out" / "store" / "models").iterdir()]) == 2
    assert len([*(tmp_path / "out" / "store" / "measures").iterdir()]) == 2
