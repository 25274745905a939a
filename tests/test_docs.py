"""The README's study file and Python example are run, so that they stay true."""

import re
from pathlib import Path
from typing import Any

import pytest

import corpuscle
from repository import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, at: int = 0) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(found[at])


def test_the_readmes_study_and_python_example_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kang2018.h5ad").write_bytes(corpuscle.dataset_path("kang2018").read_bytes())
    # The example's own training would take minutes: the same study with a few steps, and two seeds of three.
    text = block("toml")
    assert "steps = 5000" in text
    assert "seeds    = 3" in text
    (tmp_path / "study.toml").write_text(text.replace("steps = 5000", "steps = 5").replace("seeds    = 3", "seeds = 2"))
    scope: dict[str, object] = {}
    exec(block("python").replace("workers=8", "workers=0"), scope)
    results = scope["results"]
    assert isinstance(results, corpuscle.Results)
    assert not results.failures
    assert results.report.exists()


def test_the_study_of_the_page_on_python_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    (code,) = [one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "corpuscle.Study(" in one]
    scope: dict[str, Any] = {}
    # What a run leaves is looked at in tests/execution/test_results.py.
    planned, run = code.split("results = ")
    exec(planned, scope)
    assert {name for name, _ in scope["plan"].corpora} == {"Small", "Large"}
    assert corpuscle.Study.parse(scope["study"].to_toml()).spec == scope["study"].spec
    assert all(hasattr(corpuscle.Results, name) for name in re.findall(r"results\.(\w+)", run))


def test_what_the_readme_does_with_anndata_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"corpuscle": corpuscle}
    exec(block("python", 1).replace('"steps": 200', '"steps": 3'), scope)
    assert scope["half"].n_obs == 750
    assert (scope["scarce"].obs["cell_type"] == "B").sum() == 19
    assert scope["blood"].obsm["X_ldvae"].shape[0] == 1500
    assert (tmp_path / "ldvae" / "fitted.json").exists()


@pytest.mark.parametrize("page", ["foundation", "external-models"])
def test_the_models_of_a_page_are_those_of_a_study(page: str, tmp_path: Path) -> None:
    """Each block with models is put into a small study, as it stands."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = [one for one in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[[models]]" in one]
    assert blocks
    for one in blocks:
        tasks = "" if "[[tasks]]" in one else '\n[[tasks]]\nname = "annotation"\non = ["blood"]'
        rest = 'name = "page"\nsources = { blood = { path = "a.h5ad" } }\n'
        held = 'holdout = { blood = { by = "cell", share = 0.5 } }\n'
        corpora = 'corpora = [{ name = "A", parts = [{ source = "blood", n_cells = 5 }] }]\n'
        assert corpuscle.Study.parse(f"{rest}{held}{corpora}{one}{tasks}", tmp_path).models


def test_the_study_files_page_names_every_key() -> None:
    from corpuscle.corpus.split import Holdout
    from corpuscle.source.quality import Quality
    from corpuscle.study import tables as spec

    page = (ROOT / "docs" / "study-file.md").read_text(encoding="utf-8")
    tables = [
        spec.StudySpec,
        spec.SourceSpec,
        spec.GenesSpec,
        spec.PartSpec,
        spec.CorpusSpec,
        spec.LadderSpec,
        spec.TaskSpec,
    ]
    keys = {key for table in tables for key in table.model_fields}
    keys |= set(Quality.__dataclass_fields__) | set(Holdout.__dataclass_fields__)
    assert sorted(key for key in keys if not re.search(rf"\b{key}\b", page)) == []


def test_the_study_files_page_names_no_component_that_is_gone() -> None:
    from corpuscle.core.components import names
    from corpuscle.corpus.alteration import Alteration
    from corpuscle.corpus.sampler import Sampler
    from corpuscle.evaluation.task import Task
    from corpuscle.model.model import Model

    page = (ROOT / "docs" / "study-file.md").read_text(encoding="utf-8")
    for kind in (Sampler, Alteration, Model, Task):
        table = re.search(rf"\n\| {kind.kind} \|.*?\n\n", page, re.DOTALL)
        assert table, f"docs/study-file.md has no table of {kind.kind}s"
        rows = set(re.findall(r"^\| `(\w+)` \|", table[0], re.MULTILINE))
        assert rows
        assert rows <= set(names(kind))
