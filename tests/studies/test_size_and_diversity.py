"""The study of size and diversity: the full file fits what is downloaded, and the small ones lead to claims."""

import tomllib

import pytest

import corpuscle
from cut_studies import claims_of_cut_runs, cut
from published import module_at
from repository import ROOT
from stand_ins_composition import NAMES, by_id, by_symbol, planned, write, write_hosted_census

FOLDER = ROOT / "studies" / "size_and_diversity"
CENSUS = {
    "cell_type": ["classical monocyte", "B cell", "T cell", "neuron", "fibroblast"],
    "assay": ["10x 3' v3", "10x 3' v3", "Smart-seq2"],
    "dataset_id": ["one", "two"],
    "donor_id": ["d1", "d2", "d3", "d4", "d5", "d6", "d7"],
}
TARGETS = (
    "hematopoiesis", "intestine_on_chip_media", "intestine_on_chip_IFN", "periodontitis", "placenta", "renal", "liver",
)  # fmt: skip


@pytest.fixture
def sources(tmp_path, monkeypatch):
    write_hosted_census(tmp_path, CENSUS, monkeypatch)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "genes.txt").write_text("\n".join(NAMES["ensembl_id"]), encoding="utf-8")
    lines = {"gene": ["RPL3", "non-targeting"], "gem_group": [1, 2]}
    write(tmp_path / "data" / "K562_gwps_raw_singlecell_01.h5ad", 120, lines, by_id("gene_name"), 1)
    for at, name in enumerate(TARGETS):
        obs = {"cell_type": ["B cell", "T cell", "monocyte"], "donor_id": [f"{name}1", f"{name}2"]}
        write(tmp_path / "data" / f"{name}.h5ad", 60, obs, by_id("feature_name"), 10 + at)
    lung = {"cell_type": ["B_cell", "T_cell", "Malignant"], "sample": ["LUNG_N01", "LUNG_T06"]}
    write(tmp_path / "data" / "Kim2020.h5ad", 60, lung, by_symbol(), 20)
    drugs = {
        "drug": ["DMSO_TF", "Dinaciclib", "Homoharringtonine", "PH-797804", "TAK-901"],
        "cell_name": ["NCI-H2030", "LoVo", "BT-474", "PANC-1"],
        "pass_filter": ["full", "full", "full", "full", "full", "full", "minimal"],
    }
    for at in (1, 2):
        write(
            tmp_path / "data" / "tahoe" / f"plate{at}.h5ad",
            200,
            {**drugs, "plate": [f"plate{at}"]},
            by_id("symbol"),
            30 + at,
        )
    return tmp_path


@pytest.mark.parametrize("file", sorted(FOLDER.glob("full*.toml")), ids=lambda file: file.stem)
def test_a_full_study_fits_what_is_downloaded(sources, file):
    plan = planned(file, sources)
    assert all(len(cells) for cells in plan.targets.values())
    assert {name for name, _ in plan.corpora} == {recipe.name for recipe in plan.study.recipes}


@pytest.mark.slow
def test_small_runs_lead_to_claims(tmp_path, monkeypatch):
    found = claims_of_cut_runs("size_and_diversity", 400, tmp_path, monkeypatch, measured={"small"})
    assert len({claim.name for claim in found}) == len(found) >= 6
    # One replicate has no interval, so that nothing is seen.
    assert {claim.verdict for claim in found} <= {"undecided", "no verdict"}


@pytest.mark.slow
def test_a_run_on_richer_data_leads_to_claims(tmp_path, monkeypatch):
    monkeypatch.setattr("corpuscle.execution.workflow.written", lambda folder: None)
    text = (FOLDER / "richer.toml").read_text(encoding="utf-8").replace("n_cells = 10_000", "n_cells = 600")
    for at, source in enumerate(tomllib.loads(text)["sources"].values()):
        labels = {"cell_type": ["B", "NK", "T"], "batch": ["one", "two"]}
        write(tmp_path / source["path"], 80 if at else 700, labels, by_symbol(), 60 + at)
    study = corpuscle.Study.parse(cut(text, 600), tmp_path)
    found = module_at(FOLDER / "claims.py").richer(corpuscle.run(study, tmp_path / "run", workers=0))
    assert len({claim.name for claim in found}) == len(found) == 10
    assert {(claim.verdict, claim.estimate.n) for claim in found} == {("undecided", 1)}
