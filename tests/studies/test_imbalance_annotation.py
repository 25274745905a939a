"""The published study of imbalance in annotation: its full files can be planned, and its small ones give claims."""

import runpy

import anndata as ad
import numpy as np
import pytest

import corpuscle
from corpuscle.source.source import dataset_path
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study
from imbalance_standins import IDS, STUDIES, cells, claims_of, cut, leave_out_slow_parts, models

HERE = STUDIES / "imbalance_annotation"
TYPE, DISEASE = "Factor Value[inferred cell type - authors labels]", "Factor Value[disease]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with tiny files of the schema of those that the full studies name."""
    made = tmp_path_factory.mktemp("imbalance_annotation")
    models(made / "models")
    (made / "data").mkdir()
    blood = cells(60, {"barcode": ["AAAC-1"]})
    brain = cells(60, {DISEASE: ["normal", "normal", "normal", "multiple sclerosis"]}, of=TYPE, seed=1)
    # One type is rare: over-sampling and imputing need one that is, and under-sampling one that is not.
    uneven = np.r_[0:100, 101:180:3, 102:180:3]
    blood[uneven].copy().write_h5ad(made / "data" / "zheng68k.h5ad")
    brain[uneven].copy().write_h5ad(made / "data" / "E-HCAD-35.h5ad")
    for name in ("genes_3000.txt", "genes_3000_brain.txt"):
        (made / "data" / name).write_text("\n".join(IDS))
    return made


@pytest.mark.parametrize(("file", "threshold"), [("full", "500"), ("full_sclerosis", "200")])
def test_the_full_study_can_be_planned(folder, file, threshold):
    # The tiny files have fewer cells than the published thresholds.
    text = cut(
        (HERE / f"{file}.toml").read_text(), {f"threshold = {threshold}": "threshold = 40", "seeds    = 5": "seeds = 1"}
    )
    plan = prepare(Study.parse(text, folder))
    assert len(plan.runs) == 16


def test_wrong_names_are_those_of_the_same_genes_and_no_gene_has_its_own(tmp_path):
    runpy.run_path(str(HERE / "prepare.py"))["main"](tmp_path)
    assert (tmp_path / "genes.txt").read_text() == (HERE / "genes.txt").read_text()
    wrong, right = ad.read_h5ad(tmp_path / "wrong_names.h5ad"), ad.read_h5ad(dataset_path("pbmc3k"))
    listed = right[:, right.var["symbol"].isin(wrong.var["symbol"])]
    assert (wrong.X != listed.X).nnz == 0
    assert not (wrong.var["symbol"].to_numpy() == listed.var["symbol"].to_numpy()).any()
    assert (
        wrong.var.set_index("symbol")["ensembl_id"].to_dict() == listed.var.set_index("symbol")["ensembl_id"].to_dict()
    )


def test_small_runs_give_claims(tmp_path, monkeypatch):
    leave_out_slow_parts(monkeypatch)
    runpy.run_path(str(HERE / "prepare.py"))["main"](tmp_path)
    few = {r"seeds    = \d+": "seeds = 1"}
    fewer_cells = {"n_cells = 400": "n_cells = 120", "share = 0.4": "share = 0.1"}
    fewer = {
        "small": few
        | fewer_cells
        | {"steps = 200": "steps = 2", "steps = 150": "steps = 2", "epochs = 6": "steps = 2"},
        "small_tokens": few
        | {r"steps = \d+": "steps = 2", "n_cells = 2000": "n_cells = 200", "fine_tune ": "max_cells = 200\nfine_tune "},
    }
    runs = {}
    for file, changes in fewer.items():
        study = Study.parse(cut((HERE / f"{file}.toml").read_text(), changes), tmp_path)
        runs[file] = corpuscle.run(study, tmp_path / file, workers=0, store=tmp_path / "store")
    found = claims_of("imbalance_annotation", runs)
    assert len({claim.name for claim in found}) == len(found) == 9
    # One replicate has no interval, so no pattern can be said to be there.
    assert {claim.verdict for claim in found} <= {"not seen", "no verdict"}
    assert all(claim.estimate.n == 1 for claim in found)
