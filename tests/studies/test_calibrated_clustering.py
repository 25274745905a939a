"""The published study of calibrated clustering: its full files can be planned, and its small ones give claims."""

import gzip

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.io import mmwrite
from scipy.sparse import csr_matrix

import corpuscle
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study
from published import STUDIES, changed, claims_of, module_at, without_slow_parts
from stand_ins_composition import by_symbol, write

HERE = STUDIES / "calibrated_clustering"
TISSUES = (
    "Aorta", "Bladder", "Brain_Myeloid", "Brain_Non-Myeloid", "Diaphragm", "Fat", "Heart", "Kidney", "Large_Intestine",
    "Limb_Muscle", "Liver", "Lung", "Mammary_Gland", "Marrow", "Pancreas", "Skin", "Spleen", "Thymus", "Tongue",
    "Trachea",
)  # fmt: skip
GENES = [f"Gen{at}" for at in range(20)]


def tissue(folder, name, rng):
    """Write a tissue's counts as figshare has them, genes × cells; return its annotation, which lacks a cell."""
    cells = [f"{name}.{at}" for at in range(6)]
    counts = pd.DataFrame(rng.poisson(5.0, (21, 6)), index=[*GENES, "ERCC-00002"], columns=cells)
    counts.to_csv(folder / "FACS" / f"{name}-counts.csv")
    of = ["B cell", "T cell"] * 3
    return pd.DataFrame({"cell": cells, "cell_ontology_class": of, "mouse.id": "3_8_M", "tissue": name}).head(5)


def tenx(folder, n_cells, rng):
    """Write a folder as 10x Genomics', with as many cells."""
    folder.mkdir(parents=True)
    mmwrite(folder / "matrix.mtx", csr_matrix(rng.poisson(5.0, (20, n_cells))))
    (folder / "genes.tsv").write_text("".join(f"ENSG{at:011}\t{name.upper()}\n" for at, name in enumerate(GENES)))
    (folder / "barcodes.tsv").write_text("".join(f"AAAC{at:04}-1\n" for at in range(n_cells)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with tiny files of the names and schema of the downloads, converted, and few simulated cells."""
    made, rng = tmp_path_factory.mktemp("calibrated_clustering"), np.random.default_rng(0)
    data, convert = made / "data", module_at(HERE / "convert.py")
    (data / "FACS").mkdir(parents=True)
    pd.concat([tissue(data, name, rng) for name in TISSUES]).to_csv(data / "annotations_facs.csv")
    for at in range(1, 5):
        table = pd.DataFrame(rng.poisson(5.0, (6, 20)), columns=[name.upper() for name in GENES])
        table.insert(0, "assigned_cluster", "beta")
        table.insert(0, "barcode", "AGTC")
        table.index = [f"human{at}_lib1.final_cell_{cell}" for cell in range(6)]
        with gzip.open(data / f"GSM223075{at + 6}_human{at}_umifm_counts.csv.gz", "wt") as file:
            table.to_csv(file)
    convert.tabula_muris_facs(data).write_h5ad(data / "tabula_muris_facs.h5ad")
    convert.pancreas(data).write_h5ad(data / "pancreas.h5ad")
    tenx(data / "filtered_gene_bc_matrices" / "hg19", 8, rng)
    tenx(data / "filtered_matrices_mex" / "hg19", 12, rng)
    few = module_at(HERE / "simulate.py").cells(40)
    few.write_h5ad(data / "simulated.h5ad")
    few.write_h5ad(made / "simulated.h5ad")
    return made


def test_downloads_are_converted_to_annotated_cells(folder):
    mice = ad.read_h5ad(folder / "data" / "tabula_muris_facs.h5ad")
    assert mice.shape == (len(TISSUES) * 5, len(GENES))
    counts = pd.read_csv(folder / "data" / "FACS" / "Fat-counts.csv", index_col=0)
    assert (mice["Fat.3"].X.toarray().ravel() == counts.loc[GENES, "Fat.3"]).all()
    assert mice.obs.loc["Fat.3", "cell_ontology_class"] == "T cell"
    humans = ad.read_h5ad(folder / "data" / "pancreas.h5ad")
    assert humans.shape == (24, len(GENES))
    assert set(humans.obs["donor"]) == {"human1", "human2", "human3", "human4"}


def test_simulated_cells_are_what_they_are_said_to_be():
    simulate = module_at(HERE / "simulate.py")
    one, again = (simulate.cells(100) for _ in range(2))
    assert (one.X != again.X).nnz == 0
    kinds = one.obs.groupby("simulation")["cell_type"].value_counts()
    assert kinds["three kinds"].to_dict() == {"kind 1": 60, "kind 2": 20, "kind 3": 20}
    assert set(one.obs["simulation"]) == set(simulate.DESIGNS)
    counts, kind_N = simulate.simulated(simulate.DESIGNS["two kinds, ten genes"], np.random.default_rng(0), 4000)
    mean = [np.asarray(counts[kind_N == kind].mean(axis=0)).ravel() for kind in (0, 1)]
    assert (np.abs(np.log2(mean[0] / mean[1])) > 2).sum() == 10


@pytest.mark.parametrize(
    ("file", "n_runs", "changes"),
    [
        ("full", 20, {"seeds    = 3": "seeds = 1"}),
        ("full_human", 3, {"seeds    = 3": "seeds = 1"}),
        ("full_simulated", 2, {"seeds    = 1000": "seeds = 1", "n_cells = 1000": "n_cells = 30"}),
    ],
)
def test_the_full_study_can_be_planned(folder, file, n_runs, changes):
    plan = prepare(Study.parse(changed(HERE / f"{file}.toml", changes), folder))
    assert len(plan.runs) == n_runs


def test_small_runs_give_claims(folder, tmp_path, monkeypatch):
    without_slow_parts(monkeypatch)
    few = {r"seeds    = \d+ *": "seeds = 1 ", r'name *= "calibrated_clustering"': r"\g<0>\nn_genes = 50"}
    runs = {}
    for file, changes in {
        "small": {"n_cells = 600": "n_cells = 40"},
        "small_real": {"n_cells = 1000": "n_cells = 60"},
    }.items():
        study = Study.parse(changed(HERE / f"{file}.toml", few | changes), folder)
        runs[file] = corpuscle.run(study, tmp_path / file, workers=0, store=tmp_path / "store")
    found = claims_of("calibrated_clustering", runs)
    assert len({claim.name for claim in found}) == len(found) == 7
    # One replicate has no interval, so no pattern can be said to be there.
    assert {claim.verdict for claim in found} <= {"undecided", "no verdict"}
    assert all(claim.estimate.n == 1 for claim in found)


def test_a_run_on_richer_data_leads_to_claims(tmp_path, monkeypatch):
    without_slow_parts(monkeypatch)
    labels = {
        "zheng2017_facs_balanced_scminer": {"cell_type": ["CD19+ B", "CD56+ NK"]},
        "tian2019_lung_adenocarcinoma_lines": {
            "cell_type": ["A549", "H838"], "batch": [f"sc_celseq2_5cl_p{at}" for at in (1, 2, 3)],
        },
        "4celllines_K562_GM12878_H1_BJ": {"cell_type": ["H1", "K562"]},
        "baron2016_human_pancreas": {"cell_type": ["beta", "alpha"], "donor": ["human1", "human1", "human2"]},
        "10x_pbmc4k_soupx": {"cell_type": ["B", "NK", "?"]},
        "pbmc3k_labelled": {"cell_type": ["B", "NK"]},
    }  # fmt: skip
    for at, (name, columns) in enumerate(labels.items()):
        write(tmp_path / "data" / f"{name}.h5ad", 150, columns, by_symbol(), at)
    few = {"seeds    = 5": "seeds = 1", r"n_cells = \d+": "n_cells = 40", r"n_genes  = 5000\n": ""}
    fewer_genes = {r'name *= "calibrated_clustering"': r"\g<0>\nn_genes = 50"}
    study = Study.parse(changed(HERE / "richer.toml", few | fewer_genes), tmp_path)
    found = module_at(HERE / "claims.py").richer(corpuscle.run(study, tmp_path / "run", workers=0))
    assert len({claim.name for claim in found}) == len(found) == 12
    assert {claim.verdict for claim in found} == {"undecided", "no verdict"}
    assert all(claim.estimate.n == 1 for claim in found)
