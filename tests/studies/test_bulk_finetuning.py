"""The published study of labels taught by bulk: its full files can be planned, and its small ones give claims."""

import gzip

import anndata as ad
import numpy as np
import pytest

import corpuscle
from corpuscle.source.source import dataset_path
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study
from imbalance_standins import IDS, geneformer
from published import STUDIES, changed, claims_of, module_at, without_slow_parts
from stand_ins_composition import by_symbol, write

HERE = STUDIES / "bulk_finetuning"
SORTED = ["CD14+ Monocyte", "CD19+ B", "CD56+ NK", "CD4+/CD25 T Reg", "CD4+/CD45RA+/CD25- Naive T",
          "CD4+/CD45RO+ Memory", "CD8+/CD45RA+ Naive Cytotoxic"]  # fmt: skip
OF_SOUPX = ["T_CD4", "MNP", "T_CD8", "B", "NK", "?"]
DRUGS = ("BMS_0", "BMS_10", "Dex_1", "Nutlin3A_5", "SAHA_1")
# Cells of a drug enough for the largest profiles that the full files ask for.
N_OF_EACH = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with tiny files of the names and schema of those on GEO, converted, and of the published weights."""
    made = tmp_path_factory.mktemp("bulk_finetuning")
    (made / "data").mkdir()
    geneformer(made / "models" / "gf-12L-30M-i2048")
    convert, rng = module_at(HERE / "convert.py"), np.random.default_rng(0)
    n_cells = N_OF_EACH * len(DRUGS)
    oligos = [f"{DRUGS[cell % len(DRUGS)]}_A{cell % 12 + 1}" for cell in range(n_cells)]
    # What is not sure: too few hash UMIs, a second oligo, a q-value, none at all.
    sure = [(50, 20.0, 1e-9)] * (n_cells - 3) + [(30, 20.0, 1e-9), (50, 2.0, 1e-9), (50, 20.0, 0.5)]
    rows = [
        f"c{at} {oligo} {umis} {ratio} {q}"
        for at, (oligo, (umis, ratio, q)) in enumerate(zip(oligos, sure, strict=True))
    ]
    rows.append("none NA NA NA NA")
    # As R writes a table with names of rows: the header has none for these.
    header = "top_oligo hash_umis top_to_second_best_ratio qval"
    counts = rng.poisson(3.0, (n_cells + 1, len(IDS)))
    triplets = [f"{gene + 1}\t{cell + 1}\t{counts[cell, gene]}" for cell, gene in zip(*np.nonzero(counts), strict=True)]
    genes = [f"{name}.{at % 9}\tGEN{at}" for at, name in enumerate(IDS)]
    for name, lines in ((convert.CELLS, [header, *rows]), (convert.COUNTS, triplets), (convert.GENES, genes)):
        with gzip.open(made / "data" / name, "wt") as file:
            file.write("\n".join(lines) + "\n")
    found = convert.sciplex2(made / "data")
    assert (found.X.toarray() == counts[: n_cells - 3]).all()
    found.write_h5ad(made / "data" / "sciplex2.h5ad")
    return made


def test_downloads_are_converted_to_cells_with_a_sure_drug(folder):
    found = module_at(HERE / "convert.py").sciplex2(folder / "data")
    assert set(found.obs["drug"]) == {"Untreated", "BMS", "Dex", "Nutlin3A", "SAHA"}
    assert set(found.obs.loc[found.obs["drug"] == "Untreated", "dose"]) == {0.0}
    assert found.var_names[1] == "ENSG00000000001"
    assert found.n_obs == N_OF_EACH * len(DRUGS) - 3


@pytest.mark.parametrize(("file", "n_runs"), [("full", 33), ("full_two", 15)])
def test_the_full_study_can_be_planned(folder, file, n_runs):
    few = {r"seeds    = 3": "seeds = 1", r"n_cells = 2000": "n_cells = 5"}
    few |= {"fraction = 0.02": "fraction = 0.2"} if file == "full" else {}
    plan = prepare(Study.parse(changed(HERE / f"{file}.toml", few), folder))
    assert len(plan.runs) == n_runs


def test_small_runs_give_claims(tmp_path, monkeypatch):
    without_slow_parts(monkeypatch)
    common = ad.read_h5ad(dataset_path("kang2018"))
    common[:, np.argsort(np.asarray(common.X.sum(axis=0)).ravel())[-60:]].write_h5ad(tmp_path / "few_genes.h5ad")
    few = {r"seeds    = \d+": "seeds = 1", "steps = 150": "steps = 1", "width = 32": "width = 8",
           "n_cells = [35]00": "n_cells = 150",
           r"dataset *= \"kang2018\"": "path = 'few_genes.h5ad'", r"share = 0.\d+": "share = 0.05"}  # fmt: skip
    runs = {}
    for file, changes in {"small": few, "small_two": few}.items():
        study = Study.parse(changed(HERE / f"{file}.toml", changes), tmp_path)
        runs[file] = corpuscle.run(study, tmp_path / file, workers=0, store=tmp_path / "store")
    found = {claim.name: claim for claim in claims_of("bulk_finetuning", runs)}
    assert len(found) == 10
    # One replicate has no interval, so no pattern can be said to be there.
    assert {claim.verdict for claim in found.values()} <= {"undecided", "no verdict"}
    assert all(claim.estimate.n == 1 for claim in found.values())
    # What holds at any number of steps: to a model of ranks, the three aggregations are one input.
    assert found["Three aggregations, ranks"].estimate.mean == 0


def test_a_run_on_richer_data_leads_to_claims(tmp_path, monkeypatch):
    without_slow_parts(monkeypatch)
    for at, (name, types, n_cells) in enumerate(
        (("zheng2017_facs_balanced_scminer", SORTED, 350), ("10x_pbmc4k_soupx", OF_SOUPX, 90))
    ):
        write(tmp_path / "data" / f"{name}.h5ad", n_cells, {"cell_type": types}, by_symbol(), 70 + at)
    few = {r"seeds    = \d+": "seeds = 1", "steps = 150": "steps = 1", "width = 32": "width = 8",
           "n_cells = 500": "n_cells = 150"}  # fmt: skip
    study = Study.parse(changed(HERE / "richer.toml", few), tmp_path)
    run = corpuscle.run(study, tmp_path / "richer", workers=0, store=tmp_path / "store")
    found = {claim.name: claim for claim in module_at(HERE / "claims.py").richer(run)}
    assert len(found) == 14
    # One replicate has no interval, so no pattern can be said to be there.
    assert {claim.verdict for claim in found.values()} <= {"undecided", "no verdict"}
    assert all(claim.estimate.n == 1 for claim in found.values())
    assert found["Three aggregations, ranks"].estimate.mean == 0
    # The other study has the same five labels.
    assert "by chance 0.20" in found["Synthetic cells alone, five labels, another study"].because
