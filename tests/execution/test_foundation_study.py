"""The protocols of imbalance and of bulk, run on the foundation models: all corpora, all four models, one report."""

import anndata
import numpy as np
import pandas as pd
import pytest

import corpuscle

# Two minutes of processor time: 28 runs, each with its map.
pytestmark = pytest.mark.thorough

TYPES = ("B", "CD14 Mono", "CD4 Naive T")
CORPORA = {
    "Original": "",
    "Oversampled": 'steps = [{ alteration = "oversample" }]',
    "Undersampled": 'steps = [{ alteration = "undersample" }]',
    "Imputed": 'steps = [{ alteration = "impute_rare", threshold = 30, model = "ldvae", '
    "settings = { budget = { steps = 20 }, n_hidden = 16 } }]",
    "Bulk of 2, sum": 'steps = [{ alteration = "pseudobulk", k = 2 }]',
    "Bulk of 5, mean": 'steps = [{ alteration = "pseudobulk", k = 5, how = "mean_k" }]',
    "Synthetic": 'steps = [{ alteration = "synthesize_from_bulk", n_cells = 20, method = "counts", only = true }]',
}
MODELS = ("geneformer", "scgpt", "scbert", "transcriptformer")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    data = anndata.read_h5ad(corpuscle.dataset_path("kang2018"))
    counts = np.asarray(data.X.sum(axis=0)).ravel()
    data = data[:, np.sort(np.argsort(-counts)[:150])]
    kinds = data.obs["cell_type"].astype(str)
    rng = np.random.default_rng(0)
    # Of one type there are few: that is what the protocols are about.
    cells = [rng.permutation(np.flatnonzero(kinds == kind))[:n] for kind, n in zip(TYPES, (40, 80, 80), strict=True)]
    data[np.sort(np.concatenate(cells))].write_h5ad(folder / "blood.h5ad")
    corpora = "\n".join(
        f'[[corpora]]\nname = "{name}"\nparts = [{{ source = "blood", fraction = 1.0 }}]\n{steps}'
        for name, steps in CORPORA.items()
    )
    models = "\n".join(f'[[models]]\nname = "{name}"\nbudget = {{ steps = 2 }}\nbatch_size = 8\n' for name in MODELS)
    study = corpuscle.Study.parse(
        f"""
name = "imbalance and bulk"
seeds = 1
sources.blood = {{ path = "blood.h5ad" }}
quality.min_genes = 1
holdout.blood = {{ by = "cell", share = 0.3 }}
{corpora}
{models}
[[tasks]]
name = "annotation"
split = "corpus"
on = ["blood"]
[[tasks]]
name = "resources"
on = ["blood"]
""",
        folder,
    )
    return corpuscle.run(study, folder / "out", workers=0)


def test_all_corpora_train_all_models(results):
    assert not results.failures
    runs = results.scores[["corpus", "model"]].drop_duplicates()
    assert len(runs) == len(CORPORA) * len(MODELS)


def test_each_type_and_each_cost_has_a_number(results):
    scores: pd.DataFrame = results.scores
    per_type = scores[(scores["metric"] == "f1") & (scores["way"] == "5 nearest")]
    assert set(per_type["unit"]) == {f"cell_type={kind}" for kind in TYPES}
    assert per_type["value"].notna().all()
    costs = scores[scores["task"] == "resources"].dropna(subset=["value"])
    assert {"fit_seconds", "n_parameters"} <= set(costs["metric"])
    assert len(costs[costs["metric"] == "fit_seconds"]) == len(CORPORA) * len(MODELS)


def test_the_report_shows_all_models(results):
    page = results.report.read_text(encoding="utf-8")
    assert all(name in page for name in (*MODELS, *CORPORA))
