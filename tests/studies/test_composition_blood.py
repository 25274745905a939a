"""The study of what is added to blood: full files fit what is downloaded, and the small ones lead to claims."""

import pytest

from cut_studies import claims_of_cut_runs
from repository import ROOT
from stand_ins_composition import by_id, by_symbol, planned, write, write_hosted_census

FOLDER = ROOT / "studies" / "composition_blood"
CENSUS = {
    "tissue_general": ["blood", "bone marrow", "lung", "brain", "blood", "lung"],
    "cell_type": ["classical monocyte", "B cell", "T cell", "neuron", "T cell", "classical monocyte", "B cell"],
    "disease": ["normal"],
    "assay": ["10x 3' v3"],
    "dataset_id": ["one", "two"],
    "donor_id": ["d1", "d2", "d3", "H18.30.002", "d5"],
}
MALIGNANT = {"cell_type": ["Malignant", "Malignant", "T_cell"], "sample": ["s1", "s2"]}


@pytest.fixture
def sources(tmp_path, monkeypatch):
    write_hosted_census(tmp_path, CENSUS, monkeypatch)
    for at, study in enumerate(("Galen2019", "Liu2021", "Rendeiro2020")):
        write(tmp_path / "data" / "3ca" / f"{study}.h5ad", 90, {**MALIGNANT, "study": [study]}, by_symbol(), 10 + at)
    write(tmp_path / "data" / "3ca" / "Bi2021.h5ad", 90, {**MALIGNANT, "study": ["Bi2021"]}, by_symbol(), 20)
    write(tmp_path / "data" / "Ji2020.h5ad", 90, MALIGNANT, by_symbol(), 21)
    lines = {"gene": ["RPL3", "non-targeting"], "gem_group": [1, 2], "UMI_count": [2000.0], "mitopercent": [0.01]}
    for at, name in enumerate(("K562_essential_raw_singlecell_01", "GSE264667_jurkat_raw_singlecell_01")):
        write(tmp_path / "data" / f"{name}.h5ad", 80, lines, by_id("gene_name"), 30 + at)
    factors = {"TF": ["TFORF0001-GATA1"], "batch": [0, 1], "n_counts": [2000.0], "percent_mito": [0.01]}
    write(tmp_path / "data" / "GSE217460_210322_TFAtlas.h5ad", 80, factors, by_symbol(), 40)
    return tmp_path


@pytest.mark.parametrize("file", sorted(FOLDER.glob("full*.toml")), ids=lambda file: file.stem)
def test_a_full_study_fits_what_is_downloaded(sources, file):
    plan = planned(file, sources)
    assert all(len(cells) for cells in plan.targets.values())
    assert {name for name, _ in plan.corpora} == {recipe.name for recipe in plan.study.recipes}


@pytest.mark.slow
def test_small_runs_lead_to_claims(tmp_path, monkeypatch):
    found = claims_of_cut_runs("composition_blood", 40, tmp_path, monkeypatch)
    assert len({claim.name for claim in found}) == len(found) >= 6
    # One replicate has no interval, so that no difference is seen; what is counted over cells needs none.
    assert {claim.verdict for claim in found} == {"not seen"}
    assert all(claim.estimate.n <= 1 or claim.name.startswith("Nearly") for claim in found)
