"""A sampler, an alteration, a model in a folder, a task and a measure: one file or folder each, nothing else edited.

The templates that CONTRIBUTING teaches by are put into a copy of the package, where a study uses all five.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import corpuscle
from corpuscle.cli import app
from corpuscle.core import components
from corpuscle.core.errors import ComponentError
from corpuscle.corpus.sampler import Sampler
from corpuscle.corpus.samplers.uniform import Uniform
from repository import ROOT, TESTS

TEMPLATES = TESTS / "templates"
STUDY = """
name = "extended"
seeds = 2
[sources]
lines = { dataset = "chen2019" }
[holdout]
lines = { by = "cell", share = 0.3 }
[[corpora]]
name = "First"
parts = [{ source = "lines", n_cells = 60, sampler = "first_cells", step = 2 }]
[[corpora]]
name = "More H1"
parts = [{ source = "lines", n_cells = 60, sampler = "first_cells" }]
steps = [{ alteration = "repeat_type", type = "H1", times = 3 }]
[[models]]
name = "mean_profile"
pseudocount = 1.0
[[tasks]]
name = "rank_match"
on = ["lines"]
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the package has the templates."""
    # Compiled kernels travel with their sources: making them anew takes longer than all the rest.
    package = shutil.copytree(Path(corpuscle.__file__).parent, tmp_path / "lib" / "corpuscle")
    shutil.copytree(TEMPLATES, package, dirs_exist_ok=True)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "lib"), "OMP_NUM_THREADS": "1"}


def test_five_templates_run_in_one_study_and_show_in_its_report(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    command = [sys.executable, "-m", "corpuscle.cli", "run", "study.toml", "-o", "out", "--workers", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    whole = scores[scores["unit"] == "all"]
    assert set(whole["metric"]) == {"rank_match"}
    assert whole["headline"].all()
    assert whole["value"].between(0.3, 1).all()
    measures = pd.read_parquet(tmp_path / "out" / "measures.parquet")
    assert measures.loc[measures["measure"] == "zeros", "value"].between(0, 1).all()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    answer = page.split('id="overview"')[1].split('id="corpora"')[0]
    assert "Match of gene ranks" in answer
    assert "Spearman correlation of expected and counted mean expression." in page
    assert "Share of zeros" in page
    assert "repeat_type" in page
    assert "first_cells" in page
    listed = subprocess.run(
        [sys.executable, "-m", "corpuscle.cli", "list", "models"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mean_profile" in listed.stdout


@pytest.mark.thorough
def test_templates_keep_to_what_is_asked_of_every_built_in(tmp_path: Path, environment: dict[str, str]) -> None:
    # No test has to know them.
    named = " or ".join(("first_cells", "repeat_type", "mean_profile", "rank_match", "zeros"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(ROOT), "-k", named, str(TESTS / "contracts")]
    tested = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout
    counted = re.search(r"(\d+) passed", tested.stdout)
    assert counted
    assert int(counted[1]) > 50


def test_what_an_installed_package_offers_is_named_as_a_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(TEMPLATES / "corpus" / "samplers" / "first_cells.py", tmp_path / "their_samplers.py")
    facts = tmp_path / "theirs-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    offers = {"first": "their_samplers:FirstCells", "uniform": "their_samplers:FirstCells", "gone": "nowhere:Sampler"}
    lines = [f"{name} = {place}" for name, place in offers.items()]
    (facts / "entry_points.txt").write_text("\n".join(["[corpuscle.samplers]", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    components._offered.cache_clear()
    try:
        found = components.build(Sampler, "first", {"step": 3})
        assert found.name == "their_samplers:FirstCells"
        assert isinstance(components.build(Sampler, "uniform", {}), Uniform), "a built-in keeps its name"
        with pytest.raises(ComponentError, match="cannot import 'nowhere'"):
            components.build(Sampler, "gone", {})
        with pytest.raises(ComponentError, match="did you mean 'first'"):
            components.build(Sampler, "frist", {})
        listed = CliRunner().invoke(app, ["list", "samplers"]).stdout
        assert "first" in listed
        assert "cannot import" in listed
    finally:
        components._offered.cache_clear()
