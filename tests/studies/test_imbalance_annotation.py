"""The published study of imbalance in annotation: its full files can be planned, and its small ones give claims."""

import runpy
import sys

import anndata as ad
import numpy as np
import pytest
from scipy.io import mmwrite

import corpuscle
from corpuscle.corpus.expression.variable_genes import GeneMoments, most_variable
from corpuscle.source.source import dataset_path
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study
from imbalance_standins import IDS, STUDIES, SYMBOLS, cells, claims_of, cut, leave_out_slow_parts, models
from published import module_at

HERE = STUDIES / "imbalance_annotation"
TYPE, DISEASE = "Factor Value[inferred cell type - authors labels]", "Factor Value[disease]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with tiny files of the names and layout of the downloads, converted, and of the published weights."""
    made = tmp_path_factory.mktemp("imbalance_annotation")
    models(made / "models")
    data = made / "data"
    data.mkdir()
    blood = cells(60, {"barcode": ["AAAC-1"]})
    brain = cells(60, {DISEASE: ["normal", "normal", "normal", "multiple sclerosis"]}, of=TYPE, seed=1)
    # One type is rare: over-sampling and imputing need one that is, and under-sampling one that is not.
    uneven = np.r_[0:100, 101:180:3, 102:180:3]
    as_10x(data, blood[uneven].copy())
    as_of_the_atlas(data, brain[uneven].copy())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["convert.py", str(data)])
        module_at(HERE / "convert.py").main()
    return made


def as_10x(data, blood):
    """Write cells as 10x Genomics' folder, and their types as the table of its paper has them, in another order."""
    place = data / "filtered_matrices_mex" / "hg19"
    place.mkdir(parents=True)
    mmwrite(place / "matrix.mtx", blood.X.T.astype(int))
    (place / "genes.tsv").write_text("".join(f"{name}\t{symbol}\n" for name, symbol in zip(IDS, SYMBOLS, strict=True)))
    (place / "barcodes.tsv").write_text("\n".join(blood.obs_names) + "\n")
    known = blood.obs.assign(barcodes=blood.obs_names)[["barcodes", "celltype"]].iloc[::-1]
    known.to_csv(data / "68k_pbmc_barcodes_annotation.tsv", sep="\t", index=False)


def as_of_the_atlas(data, brain):
    """Write cells as the Single Cell Expression Atlas gives them: genes by Ensembl id, one unknown to 10x Genomics."""
    name = data / "E-HCAD-35.aggregated_filtered_counts.mtx"
    mmwrite(name, brain.X.T)
    ids = [*IDS[:-1], "ENSG00000999999"]
    (data / f"{name.name}_rows").write_text("".join(f"{one}\t{one}\n" for one in ids))
    (data / f"{name.name}_cols").write_text("\n".join(brain.obs_names) + "\n")
    brain.obs.rename_axis("Assay").iloc[::-1].to_csv(data / "ExpDesign-E-HCAD-35.tsv", sep="\t")


def test_downloads_are_converted_to_raw_counts_with_types_and_both_names_of_genes(folder):
    blood, brain = (ad.read_h5ad(folder / "data" / f"{name}.h5ad") for name in ("zheng68k", "E-HCAD-35"))
    drawn = cells(60, {})[[0, 1, 2]]
    assert (blood[drawn.obs_names].X != drawn.X).nnz == 0
    assert list(blood[drawn.obs_names].obs["celltype"]) == list(drawn.obs["celltype"])
    assert list(blood.var["ensembl_id"]) == IDS and list(blood.var["symbol"]) == SYMBOLS
    assert list(brain.var["symbol"]) == [*SYMBOLS[:-1], ""]
    assert list(brain.obs[DISEASE].iloc[:4]) == ["normal", "normal", "normal", "multiple sclerosis"]
    listed = (folder / "data" / "genes_3000.txt").read_text().split()
    assert set(listed) <= set(IDS) and len(listed) > 50


def test_the_genes_listed_are_the_most_variable_of_counts_per_10_000():
    data = cells(60, {})
    scaled_NG = data.X.toarray() / data.X.sum(axis=1) * 1e4
    moments = GeneMoments(np.asarray(scaled_NG).mean(axis=0), np.asarray(scaled_NG).var(axis=0, ddof=1))
    convert = module_at(HERE / "convert.py")
    listed = convert.variable_genes(data, 20).split()
    assert listed == [IDS[at] for at in most_variable(moments, 20)]
    assert len(listed) == 20


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


def test_a_run_on_richer_data_leads_to_claims(tmp_path, monkeypatch):
    leave_out_slow_parts(monkeypatch)
    pancreas = cells(80, {"donor": ["human1", "human2", "human3", "human4", "human2"]}, of="kind")
    names = {"CD8 T cell": "beta", "NK cell": "endothelial", "CD14 monocyte": "macrophage"}
    pancreas.obs["cell_type"] = pancreas.obs["kind"].map(names)
    pancreas.var.loc[SYMBOLS[0], "ensembl_id"] = ""
    # Two types are rarer, as in the data.
    uneven = np.r_[0:120, 120:240:3]
    (tmp_path / "data").mkdir()
    pancreas[uneven].copy().write_h5ad(tmp_path / "data" / "baron2016_human_pancreas.h5ad")
    monkeypatch.setattr(sys, "argv", ["convert.py", str(tmp_path / "data")])
    convert = module_at(HERE / "convert.py")
    assert set(convert.trained_on_of_pancreas(tmp_path / "data").obs["donor"]) == {"human2", "human3", "human4"}
    convert.main()
    assert "" not in (tmp_path / "data" / "genes_500_pancreas.txt").read_text().splitlines()
    fewer = {
        r"seeds    = \d+": "seeds = 1", "n_cells = 600": "n_cells = 100", "threshold = 30": "threshold = 28",
        "steps = 200": "steps = 2", "steps = 150": "steps = 2", "epochs = 4": "steps = 2",
    }  # fmt: skip
    study = Study.parse(cut((HERE / "richer.toml").read_text(), fewer), tmp_path)
    run = corpuscle.run(study, tmp_path / "richer", workers=0, store=tmp_path / "store")
    found = module_at(HERE / "claims.py").richer(run)
    assert len({claim.name for claim in found}) == len(found) == 6
    assert {(claim.verdict, claim.estimate.n) for claim in found} == {("undecided", 1), ("no verdict", 1)}


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
    assert {claim.verdict for claim in found} <= {"undecided", "no verdict"}
    assert all(claim.estimate.n == 1 for claim in found)
