"""Names of corpora from names of any length, what a recommendation says to do next, and where things are written."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from corpuscle import Study
from corpuscle.cli import app
from corpuscle.core.errors import FolderError
from corpuscle.mixture import coalitions
from corpuscle.oracle.advising import _candidate, _from_cells, _one_out, _subsets
from corpuscle.oracle.answer import _next_with
from corpuscle.oracle.stages import Stages
from corpuscle.oracle.valuing import _named, _planned
from corpuscle.study.mixing import Ingredient, Mixing
from corpuscle.study.tables import LONGEST_NAME

STUDY = """
name = "long"
sources.blood = { path = "blood.h5ad" }
models = ["ldvae"]
[mixture]
groups = { source = "blood", by = "cell_type" }
n_cells = 100
[[tasks]]
name = "reconstruction"
on = ["blood"]
"""
LABELS = [
    "CD14-low, CD16-positive monocyte",
    "CD14-low, CD16-positive\nmonocyte",
    "naive thymus-derived CD4-positive, alpha-beta T cell",
    "Naive thymus-derived CD4-positive, alpha-beta T cell",
    "all",
    "effector memory CD8-positive, alpha-beta T cell, terminally differentiated, of blood",
]


@pytest.fixture
def stages() -> Stages:
    names = [f"blood: {label}" for label in LABELS[:4]] + LABELS[4:]
    parts = [Ingredient(name, "blood", f"cell_type == {name!r}", 50) for name in names]
    return Stages(Mixing(Study.parse(STUDY), tuple(parts)))


def names_of(study: Study) -> list[str]:
    return [one.name for one in study.spec.corpora]


def test_subsets_of_sources_with_long_names_are_corpora(stages: Stages) -> None:
    members = _named(coalitions(stages.mixing.names, 64, rng=np.random.default_rng(0)))
    assert members.index.is_unique
    assert members.loc["all"].all()
    assert not members.loc["nothing"].any()
    found = names_of(_planned(stages, members, "additive"))
    assert found == [name for name in members.index if name != "nothing"]
    assert max(map(len, found)) <= LONGEST_NAME


def test_what_a_candidate_is_compared_with_has_names_of_corpora(stages: Stages) -> None:
    assert names_of(_one_out(stages)) == list(_subsets(stages))
    candidate = "c" * LONGEST_NAME
    compared = _from_cells(stages, candidate, {"path": "other.h5ad"})
    found = names_of(_candidate(stages, compared))
    assert max(map(len, found)) <= LONGEST_NAME
    assert {name for pair in compared.pairs.values() for name in pair} <= set(found)


@pytest.mark.parametrize(("regret", "said"), [(0.05, False), (0.4, True)])
@pytest.mark.parametrize("beaten", [True, False])
def test_what_it_may_lack_is_said_whether_or_not_a_plain_rival_ties(regret: float, *, said: bool, beaten: bool) -> None:
    row = {
        "output": "(utility)",
        "mixture": "best",
        "rival": "natural",
        "p_holm": 0.01 if beaten else 0.5,
        "difference": 1,
    }
    search = SimpleNamespace(
        confirmed=pd.DataFrame([row]), ends={}, contenders=["best"], rivals={"natural": "natural"},
        stages=SimpleNamespace(spec=SimpleNamespace(tolerance=0.1)),
        history=SimpleNamespace(utility=SimpleNamespace(pareto=False)),
    )  # fmt: skip
    sentence = _next_with(search, SimpleNamespace(regret=regret))  # type: ignore[arg-type]
    assert ("may still lack 0.40 SD" in sentence) == said
    assert ("not shown to be better than natural" in sentence) != beaten


@pytest.mark.parametrize("command", ["mixture", "leaderboard"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_that_is_a_file_is_refused_before_anything_is_read(
    command: str, tmp_path: Path, *, inside: bool
) -> None:
    (tmp_path / "out").write_text("")
    out = tmp_path / "out" / "deep" if inside else tmp_path / "out"
    given = ["no.csv", "no.csv"] if command == "mixture" else ["nowhere"]
    done = CliRunner().invoke(app, [command, *given, "-o", str(out)])
    assert isinstance(done.exception, FolderError)
    assert "is no folder" in str(done.exception)
