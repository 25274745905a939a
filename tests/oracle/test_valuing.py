"""`corpuscle value` and `corpuscle advise`, end to end on four small sources, with a network of a few steps."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cells_of_types import cells_of_types
from corpuscle import advise, value
from corpuscle.cli import app
from corpuscle.core.errors import InputError, StudyError
from corpuscle.oracle.advice import Advice
from corpuscle.oracle.valuation import UTILITY

N_GENES = 30
STUDY = """
name = "four & one"
[quality]
min_genes = 1
[mixture]
sources = ["a", "b", "c", "d"]
n_cells = 40
mixtures = 8
held_out = 0
rounds = 0
[[models]]
name = "ldvae"
n_hidden = 8
budget = { steps = 30 }
[[tasks]]
name = "reconstruction"
on = ["<new>", "e"]
[sources]
"""
# Shares of four cell types; the last one is no source of the study.
SOURCES = {"a": (0.7, 0.3, 0, 0), "b": (0, 0.6, 0.4, 0), "c": (0.1, 0, 0.2, 0.7), "d": (1, 0, 0, 0),
           "<new>": (0, 0.1, 0.1, 0.8), "e": (0.5, 0.5, 0, 0), "candidate": (0, 0, 0, 1)}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("value")
    rng = np.random.default_rng(0)
    profile_tg = rng.gamma(0.6, 1.0, (4, N_GENES))
    profile_tg /= profile_tg.sum(axis=1, keepdims=True)
    lines = []
    for at, (name, shares) in enumerate(SOURCES.items()):
        cells = cells_of_types(profile_tg, shares, n_cells=60, depths=(150, 400), rng=rng, name=str(at))
        cells.write_h5ad(place / f"{at}.h5ad")
        if name != "candidate":
            lines.append(f'"{name}" = {{ path = "{at}.h5ad" }}')
    (place / "study.toml").write_text(STUDY + "\n".join(lines))
    return place


@pytest.mark.slow
def test_sources_are_valued_and_a_candidate_is_predicted_from_them(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = value(folder / "study.toml", out, ways=["fixed"], workers=0)
    values = found.ledgers["fixed"].values
    assert set(values["output"]) == {"r2_log on <new>", "r2_log on e", UTILITY}
    assert set(values["source"]) == {"a", "b", "c", "d"}
    whole = values.groupby("output")["shapley"].sum()
    means = found.trials.groupby("subset")["r2_log on e"].mean()
    assert whole["r2_log on e"] == pytest.approx(means["all"] - means["nothing"])
    assert len(found.trials) == 16 * 2
    document = json.loads((out / "valuation.json").read_text())
    assert document["sentences"] == found.sentences()
    stage = json.loads((out / "stages" / "value-fixed" / "provenance.json").read_text())
    assert len(document["warnings"]) >= len(stage["warnings"]) > 0
    page = (out / "valuation.html").read_text()
    assert f"{len(document['warnings'])} warnings: legal in the study" in page
    assert "four &amp; one" in page
    assert "&lt;new&gt;" in page
    assert "<new>" not in page

    advice = advise(folder / "study.toml", out, folder / "6.h5ad", name="pilot", workers=0)
    assert list(advice.values["output"]) == ["r2_log on <new>", "r2_log on e"]
    assert (advice.values["low"] < advice.values["value"]).all()
    assert (advice.values["value"] < advice.values["high"]).all()
    # It has the type that the unseen target is mostly of, and brings the corpus nearer to it than to the other.
    gained = advice.features[advice.features["source"] == "pilot"].set_index("output")["moment_proxy"]
    assert gained["r2_log on <new>"] > gained["r2_log on e"]
    assert len(advice.known) == 4 * 2
    assert json.loads((out / "advice.json").read_text())["advice"] == advice.sentence()

    cells = ad.read_h5ad(folder / "6.h5ad")
    scaled = pd.DataFrame(1e4 * cells.X / cells.X.sum(axis=1, keepdims=True), columns=cells.var_names)
    scaled.mean().rename("all").rename_axis("gene").to_csv(tmp_path / "means.csv")
    options = ["--candidate", str(tmp_path / "means.csv"), "-o", str(out), "-w", "1"]
    from_means = CliRunner().invoke(app, ["advise", str(folder / "study.toml"), *options])
    assert from_means.exit_code == 0, from_means.output
    assert "From a summary, not from cells: means over all cells" in " ".join(from_means.stdout.split())
    assert json.loads((out / "advice.json").read_text())["summary"].startswith("From a summary")

    again = CliRunner().invoke(app, ["value", str(folder / "study.toml"), "-o", str(out), "--way", "fixed", "-w", "1"])
    assert again.exit_code == 0, again.output
    assert found.sentences()[0] in again.stdout


def test_what_cannot_be_valued_is_refused(folder: Path, tmp_path: Path) -> None:
    study = (folder / "study.toml").read_text()
    large = folder / "large.toml"
    large.write_text(study.replace("n_cells = 40", "n_cells = 400"))
    with pytest.raises(InputError, match="lower n_cells to 240"):
        value(large, tmp_path / "large", ways=["fixed"], workers=0)
    plain = folder / "pca.toml"
    plain.write_text(study.replace('name = "ldvae"\nn_hidden = 8\nbudget = { steps = 30 }', 'name = "pca"'))
    with pytest.raises(InputError, match="trained in steps"):
        value(plain, tmp_path / "pca", ways=["fixed"], workers=0)
    with pytest.raises(InputError, match="expected some of fixed, additive"):
        value(folder / "study.toml", tmp_path / "ways", ways=["odd"])
    with pytest.raises(InputError, match="does not exist"):
        advise(folder / "study.toml", tmp_path / "no", "nowhere.h5ad")
    with pytest.raises(InputError, match="has a source 'a' already"):
        advise(folder / "study.toml", tmp_path / "no", folder / "6.h5ad", name="a")
    few = folder / "few.toml"
    few.write_text(study.replace('sources = ["a", "b", "c", "d"]', 'sources = ["a", "b"]'))
    with pytest.raises(InputError, match="at least 4 sources"):
        advise(few, tmp_path / "few", folder / "6.h5ad")
    mouse = ad.read_h5ad(folder / "6.h5ad")
    mouse.var_names = [f"other{at}" for at in range(N_GENES)]
    mouse.write_h5ad(folder / "mouse.h5ad")
    with pytest.raises(InputError):
        advise(folder / "study.toml", tmp_path / "mouse", folder / "mouse.h5ad")
    # A target's own cells; the lines of a stage's study are those of no file.
    with pytest.raises(StudyError, match="candidate row") as refused:
        advise(folder / "study.toml", tmp_path / "same", folder / "4.h5ad")
    assert "line " not in str(refused.value)


def test_noise_leads_to_no_advice() -> None:
    rng = np.random.default_rng(0)
    known = pd.DataFrame({
        "source": np.repeat(list("abcde"), 4), "output": list("wxyz") * 5, "value": rng.normal(size=20), "se": 0.1,
        "predicted": rng.normal(size=20), "low": -3.0, "high": 3.0, "chance": 0.5,
    })  # fmt: skip
    values = pd.DataFrame({"output": ["w"], "value": [1.0], "low": [0.5], "high": [1.5], "chance": [0.99]})
    noise = Advice("pilot", Path(), values, known, pd.DataFrame(), pd.Series(dtype=float))
    assert noise.abstains
    assert noise.sentence().startswith("No advice on pilot")
    sure = Advice(
        "pilot", Path(), values, known.assign(predicted=known["value"]), pd.DataFrame(), pd.Series(dtype=float)
    )
    assert not sure.abstains
    assert sure.sentence() == "With pilot, expect: better w (+1)."
