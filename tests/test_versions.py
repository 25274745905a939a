"""A raised version remakes exactly what depends on it: each kind of component in turn."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import pytest

import corpuscle
from corpuscle.core.code_version import code_version
from corpuscle.core.components import component
from corpuscle.core.errors import ComponentError
from corpuscle.corpus.alteration import Alteration
from corpuscle.corpus.alterations.downsample import Downsample
from corpuscle.corpus.sampler import Sampler
from corpuscle.corpus.samplers.label_balanced import LabelBalanced
from corpuscle.evaluation.tasks.clustering import Clustering
from corpuscle.execution.engine import execute
from corpuscle.execution.graph import runs_of
from corpuscle.execution.measuring import measure
from corpuscle.execution.opened import Opened
from corpuscle.measures.built_ins.vendi import Vendi
from corpuscle.model.architectures.hvg import HVG
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.model import Model
from corpuscle.source.reader import Reader
from corpuscle.source.readers.zarr import Zarr
from corpuscle.store import Store

STUDY = """
name = "versions"
seeds = 1
[sources]
one = { path = "one.h5ad" }
two = { path = "two.zarr" }
[holdout]
one = { by = "donor", values = ["d0"] }
[[corpora]]
name = "Plain"
parts = [{ source = "one", n_cells = 40 }]
[[corpora]]
name = "Balanced"
parts = [{ source = "one", n_cells = 40, sampler = "label_balanced", by = "cell_type" }]
[[corpora]]
name = "Fewer"
parts = [{ source = "one", n_cells = 40 }]
steps = [{ alteration = "downsample", keep = 0.5 }]
[[corpora]]
name = "Two"
parts = [{ source = "two", n_cells = 40 }]
[[models]]
name = "hvg"
[[models]]
name = "untrained"
model = { name = "ldvae", n_hidden = 8 }
[[tasks]]
name = "clustering"
on = ["one"]
[[tasks]]
name = "resources"
on = ["one"]
"""
ALL = {
    (corpus, model, what)
    for corpus in ("Plain", "Balanced", "Fewer", "Two")
    for model in ("hvg", "untrained")
    for what in ("model", "clustering", "resources", "map")
}


@pytest.fixture
def study(tmp_path: Path, write: Callable[..., Path], annotated: Any, counts_of: Any) -> corpuscle.Study:
    write("one", 120)
    others = annotated(counts_of(60, seed=1), {"donor": [f"e{at % 3}" for at in range(60)]})
    with ad.settings.override(zarr_write_format=3), pytest.warns():
        others.write_zarr(tmp_path / "two.zarr")
    return corpuscle.Study.parse(STUDY, tmp_path)


def keys(study: corpuscle.Study, store: Store) -> dict[tuple[str, str, str], str]:
    """Return what each result of a study is called in the store, as the code is now."""
    found = {}
    for one in runs_of(corpuscle.prepare(study, store), Opened(store.root).corpora):
        of = {"model": one.fit.key, "map": one.maps[0].key, **{asked.asked: asked.key for asked in one.scores}}
        found.update({(one.run.corpus, one.run.model, what): key for what, key in of.items()})
    return found


def only(corpora: set[str], **of: str) -> set[tuple[str, str, str]]:
    return {
        (corpus, model, what)
        for corpus, model, what in ALL
        if corpus in corpora and of.get("model", model) == model and of.get("what", what) == what
    }


CORPORA = {"Plain", "Balanced", "Fewer", "Two"}


# Which class attribute is raised, and what is then made anew.
RAISED = (
    (LabelBalanced, "version", only({"Balanced"})),
    (Downsample, "version", only({"Fewer"})),
    (HVG, "version", only(CORPORA, model="hvg")),
    # A model that another is made of counts, too.
    (LDVAE, "version", only(CORPORA, model="untrained")),
    (Clustering, "version", only(CORPORA, what="clustering")),
    # The targets are of the other file.
    (Zarr, "version", only({"Two"})),
    (Model, "shared_version", ALL),
    (Sampler, "shared_version", ALL),
    (Alteration, "shared_version", only({"Fewer"})),
    (Reader, "shared_version", ALL),
)


def test_a_raised_version_remakes_what_depends_on_it_and_nothing_else(
    study: corpuscle.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    before, surveys = keys(study, store), store.root / "surveys"
    assert set(before) == ALL
    assert keys(study, store) == before
    for kind, attribute, remade in RAISED:
        known = set(surveys.iterdir())
        with monkeypatch.context() as patch:
            patch.setattr(kind, attribute, getattr(kind, attribute) + 1)
            after = keys(study, store)
        assert {what for what, key in after.items() if key != before[what]} == remade, kind
        assert len(set(surveys.iterdir()) - known) == {Zarr: 1, Reader: 2}.get(kind, 0), kind


def test_a_raised_measure_or_metric_remakes_the_measures_and_nothing_else(
    study: corpuscle.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    before, kept = keys(study, store), []
    raised = (None, ("version", 2), ("metrics", (replace(Vendi.metrics[0], version=2),)), None)
    for change in raised:
        with monkeypatch.context() as patch:
            if change:
                patch.setattr(Vendi, *change)
            measure(corpuscle.prepare(study, store), Opened(store.root).corpora)
            assert keys(study, store) == before
        kept.append(len(list((store.root / "measures").iterdir())))
    n_corpora = len(CORPORA)
    assert kept == [n_corpora, 2 * n_corpora, 3 * n_corpora, 3 * n_corpora]


TASK = """
from corpuscle.core.components import component
from corpuscle.core.scores import Score
from corpuscle.evaluation.task import Task

@component
class Constant(Task):
    def run(self, model, train, target, rng):
        yield Score("answer", "all", {value}, len(target), "higher")
"""


def test_a_users_task_that_changed_is_asked_anew_and_its_models_are_kept(
    study: corpuscle.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    text = STUDY.replace('name = "clustering"', 'name = "labtask:Constant"').replace('[[models]]\nname = "hvg"\n', "")
    reused = []
    for value in (1.0, 2.0, 2.0):
        (folder / "labtask.py").write_text(TASK.format(value=value))
        sys.modules.pop("labtask", None)
        importlib.invalidate_caches()
        results = corpuscle.run(corpuscle.Study.parse(text, tmp_path), tmp_path / "out", workers=1)
        assert not results.failures
        reused.append(results.reused)
        answers = results.scores[results.scores["metric"] == "answer"]
        assert set(answers["value"]) == {value}
        models = sorted(path.name for path in (tmp_path / "out" / "store" / "models").iterdir())
        assert len(models) == 4
    assert reused == [0, 0, 4]


def test_a_task_that_is_edited_while_a_study_runs_leaves_nothing_under_its_earlier_name(
    study: corpuscle.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "editedtask.py").write_text(TASK.format(value=1.0))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    text = STUDY.replace('name = "clustering"', 'name = "editedtask:Constant"')
    text = text.replace('[[models]]\nname = "hvg"\n', "")
    plan, opened = corpuscle.prepare(corpuscle.Study.parse(text, tmp_path)), Opened(tmp_path / "store")
    asked = [one.scores[0] for one in runs_of(plan, opened.corpora)][:1]
    (tmp_path / "editedtask.py").write_text(TASK.format(value=22.0))
    failed = execute(asked, opened.corpora, 1, lambda _news: None)
    assert [*failed.values()] == [
        "the code of task 'editedtask:Constant' changed after the run began; run the same command again"
    ]
    assert not opened.store.has(*asked[0].address)


def test_a_stated_version_stands_for_the_source_and_is_inherited_from_a_users_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @component
    class Own(HVG):
        pass

    @component
    class Stated(Own):
        version = 3

    @component
    class Derived(Stated):
        pass

    @component
    class Setting(HVG):
        version: int = 5  # type: ignore[misc]  # a parameter of this name is none of its code

    assert str(code_version(Own)).startswith("1, source ")
    assert code_version(Stated) == code_version(Derived) == "1, stated 3"
    assert "source" in str(code_version(Setting))
    assert code_version(HVG) == 1
    # What a class of the user's extends may give other results, too.
    monkeypatch.setattr(HVG, "version", 2)
    assert code_version(Derived) == "2, stated 3"
    assert str(code_version(Own)).startswith("2, source ")


def test_any_file_of_a_package_counts_and_none_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "labpackage"
    package.mkdir()
    (package / "__init__.py").write_text("from corpuscle.model.architectures.hvg import HVG\nclass Mine(HVG): pass\n")
    (package / "parts.py").write_text("x = 1\n")
    (tmp_path / "elsewhere.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = importlib.import_module("labpackage").Mine
    before = code_version(mine)
    (tmp_path / "elsewhere.py").write_text("x = 22\n")
    assert code_version(mine) == before
    (package / "parts.py").write_text("x = 22\n")
    assert code_version(mine) != before


def test_a_class_without_source_must_state_a_version() -> None:
    space: dict[str, Any] = {"HVG": HVG, "__name__": "nowhere"}
    exec("class Mine(HVG): pass\nclass Stated(HVG): version = 2", space)
    assert code_version(space["Stated"]) == "1, stated 2"
    with pytest.raises(ComponentError, match="version = 1"):
        code_version(space["Mine"])
