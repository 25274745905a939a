"""The published study of imbalance in integration: its full files can be planned, and its small ones give claims."""

import sys

import anndata as ad
import pandas as pd
import pytest

import corpuscle
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study
from imbalance_standins import IDS, STUDIES, SYMBOLS, cells, claims_of, cut, leave_out_slow_parts, models
from published import module_at
from stand_ins_composition import NAMES, write

HERE = STUDIES / "imbalance_integration"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with tiny files of the names and schema of the downloads, converted, and of the published weights."""
    made = tmp_path_factory.mktemp("imbalance_integration")
    models(made / "models")
    for name, files in {
        "pbmc_2_batch_base_balanced": ["tran_exp5_pbmc_batch1_balanced", "tran_exp5_pbmc_batch2_balanced"],
        "pbmc_4_batch": ["batch1", "batch2", "batch3", "batch4"],
    }.items():
        (made / "data" / name).mkdir(parents=True)
        for at, file in enumerate(files):
            batch = cells(20, {"batch": [file]}, seed=at)
            # By symbol alone, in another order than 10x Genomics' list.
            batch.var = batch.var[["gene", "symbol"]]
            batch[:, ::-1].copy().write_h5ad(made / "data" / name / f"{file}.h5ad")
    genes = "".join(f"{name}\t{symbol}\n" for name, symbol in zip(IDS, SYMBOLS, strict=True))
    (made / "data" / "genes.tsv").write_text(genes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["convert.py", str(made / "data")])
        module_at(HERE / "convert.py").main()
    return made


def test_ids_are_those_of_the_symbols_also_of_one_that_is_there_twice(folder, tmp_path):
    found = ad.read_h5ad(folder / "data" / "pbmc_4_batch" / "batch2.h5ad")
    assert dict(zip(found.var_names, found.var["ensembl_id"], strict=True)) == dict(zip(SYMBOLS, IDS, strict=True))
    (tmp_path / "genes.tsv").write_text("E1\tA\nE2\tB\nE3\tA\nE4\tNA\n")
    ids = module_at(HERE / "convert.py").ids_of_symbols(tmp_path / "genes.tsv")
    assert ids.to_dict() == {"A": "E1", "B": "E2", "A-1": "E3", "NA": "E4"}


@pytest.mark.parametrize(
    ("file", "n_runs", "changes"),
    [
        ("full", 40, {"seeds    = 200": "seeds = 2"}),
        ("full_fine_tuned", 28, {"seeds    = 10": "seeds = 2"}),
        ("full_natural", 10, {"seeds    = 50": "seeds = 2"}),
    ],
)
def test_the_full_study_can_be_planned(folder, file, n_runs, changes):
    plan = prepare(Study.parse(cut((HERE / f"{file}.toml").read_text(), changes), folder))
    assert len(plan.runs) == n_runs


def test_small_runs_give_claims(tmp_path, monkeypatch):
    leave_out_slow_parts(monkeypatch)
    genes = f"genes = {{ space = '{STUDIES}/imbalance_annotation/genes.txt', by = 'symbol', min_counts_kept = 0.0 }}"
    few = {r"seeds    = \d+": f"seeds = 1\n{genes}", r"steps = \d+": "steps = 1"}
    fewer = {
        "small": few | {"n_cells = 480": "n_cells = 192"},
        "small_foundation": few | {"n_cells = 360": "n_cells = 120", "batch_size = 8": "batch_size = 4"},
        "small_natural": few | {"n_cells = 900": "n_cells = 200"},
    }
    runs = {}
    for file, changes in fewer.items():
        study = Study.parse(cut((HERE / f"{file}.toml").read_text(), changes), HERE)
        runs[file] = corpuscle.run(study, tmp_path / file, workers=0, store=tmp_path / "store")
    found = claims_of("imbalance_integration", runs)
    assert len({claim.name for claim in found}) == len(found) == 10
    # One replicate has no interval, so no pattern can be said to be there.
    assert {claim.verdict for claim in found} <= {"undecided", "no verdict"}
    assert all(claim.estimate.n <= 1 for claim in found)
    drop = next(claim for claim in found if claim.name == "Ablated in one batch")
    assert -1 <= drop.estimate.mean <= 1


def test_a_run_on_richer_data_leads_to_claims(tmp_path, monkeypatch):
    leave_out_slow_parts(monkeypatch)
    types = {
        "pbmc3k_labelled": ["CD4 T", "CD8 T", "B", "NK", "CD14 Monocytes", "Megakaryocytes"],
        "10x_pbmc4k_soupx": ["T_CD4", "T_CD8", "B", "NK", "MNP", "?"],
    }
    # Genes that the packaged data have, too.
    genes = (STUDIES / "imbalance_annotation" / "genes.txt").read_text(encoding="utf-8").split()[: len(NAMES)]
    for at, (name, labels) in enumerate(types.items()):
        obs = {"cell_type": labels, "batch": [name]}
        write(tmp_path / "data" / f"{name}.h5ad", 240, obs, pd.DataFrame(index=genes), at)
    few = {r"seeds    = \d+": "seeds = 1", "n_cells = 400": "n_cells = 100", "steps = 200": "steps = 1",
           'by = "symbol"': 'by = "symbol"\nmin_counts_kept = 0.0'}  # fmt: skip
    study = Study.parse(cut((HERE / "richer.toml").read_text(encoding="utf-8"), few), tmp_path)
    found = module_at(HERE / "claims.py").richer(corpuscle.run(study, tmp_path / "run", workers=0))
    assert len({claim.name for claim in found}) == len(found) == 7
    # One replicate has no interval, so no pattern can be said to be there.
    assert {claim.verdict for claim in found} == {"undecided"}
    assert all(claim.estimate.n <= 1 for claim in found)
    ablated = next(claim for claim in found if claim.name == "Ablated in one batch")
    assert -1 <= ablated.estimate.mean <= 1
