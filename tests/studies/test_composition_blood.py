"""The study of what is added to blood: full files fit what is downloaded, and the small ones lead to claims."""

import tomllib

import anndata as ad
import pytest
from scipy.io import mmwrite

import corpuscle
from cut_studies import claims_of_cut_runs, cut
from published import module_at
from repository import ROOT
from stand_ins_composition import NAMES, by_id, by_symbol, file_of, planned, write, write_hosted_census

FOLDER = ROOT / "studies" / "composition_blood"
convert = module_at(FOLDER / "convert.py")
# As GTEx writes its medians: a line for the version, one for the size, then Name and Description.
GTEX = (
    "#1.2\n3\t3\nName\tDescription\tLung\tWhole Blood\tBrain - Cortex\n"
    "E1\tGATA1\t0.1\t9.0\t0.0\nE2\tPAX6\t0.2\t0.0\t8.0\nE3\tNONE\t0.0\t0.0\t0.0\n"
)
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
    """A folder with tiny files of the names and schema of the downloads, converted where the study files say so."""
    write_hosted_census(tmp_path, CENSUS, monkeypatch)
    data = tmp_path / "data"
    data.mkdir()
    NAMES.set_axis(["feature_id", "feature_name"], axis=1).to_csv(data / "genes.csv", index=False)
    folders = ["Data_Galen2019_Hematologic", "Data_Liu2021_Hematologic/one", "Data_Liu2021_Hematologic/two",
               "Data_Rendeiro2020_Hematologic", "Data_Bi2021_Hematologic", "Data_Ji2020_Skin"]  # fmt: skip
    for at, name in enumerate(folders):
        _as_3ca(data / name, file_of(90, MALIGNANT, by_symbol(), 10 + at))
    (data / "Data_Plates2017_Brain").mkdir()
    lines = {"gene": ["RPL3", "non-targeting"], "gem_group": [1, 2], "UMI_count": [2000.0], "mitopercent": [0.01]}
    for at, name in enumerate(("K562_essential_raw_singlecell_01", "GSE264667_jurkat_raw_singlecell_01")):
        write(data / f"{name}.h5ad", 80, lines, by_id("gene_name"), 30 + at)
    factors = {"TF": ["TFORF0001-GATA1", "TFORF0002-PAX6"], "batch": [0, 1], "n_counts": [2000.0]}
    write(data / convert.TF_ATLAS, 80, factors, by_symbol()[[]], 40)
    (data / convert.GTEX).write_text(GTEX)
    convert.convert(data)
    return tmp_path


def _as_3ca(folder, cells):
    """Write cells as studies of 3CA are downloaded."""
    folder.mkdir(parents=True)
    mmwrite(folder / "Exp_data_UMIcounts.mtx", cells.X.T)
    # Symbols that the Census does not have, and a gene that is there twice.
    (folder / "Genes.txt").write_text("\n".join([*cells.var_names[:-2], "AC00001.1", cells.var_names[0]]))
    cells.obs.rename_axis("cell_name").to_csv(folder / "Cells.csv")


def test_downloads_are_converted_to_raw_counts_by_ensembl_id(sources):
    liu = ad.read_h5ad(sources / "data" / "3ca" / "Liu2021.h5ad")
    assert liu.shape == (180, len(NAMES) - 2) and set(liu.obs["study"]) == {"Liu2021"} and liu.obs_names.is_unique
    first = file_of(90, MALIGNANT, by_symbol(), 11)
    assert (liu.X[:90].toarray() == first.X[:, :-2].toarray()).all()
    assert list(liu.var["ensembl_id"]) == list(NAMES["ensembl_id"][:-2])
    assert (sources / "data" / "Ji2020.h5ad").exists() and not (sources / "data" / "3ca" / "Ji2020.h5ad").exists()
    factors = ad.read_h5ad(sources / "data" / "tf_atlas.h5ad")
    # Of two factors, GTEx finds one in whole blood.
    assert len(factors) == 40 and set(factors.obs["gene"]) == {"GATA1"}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("full*.toml")), ids=lambda file: file.stem)
def test_a_full_study_fits_what_is_downloaded(sources, file):
    plan = planned(file, sources)
    assert all(len(cells) for cells in plan.targets.values())
    assert {name for name, _ in plan.corpora} == {recipe.name for recipe in plan.study.recipes}
    # The stand-in of the Census has other cells of the brain, too.
    if "neurons" in plan.targets:
        assert set(plan.targets["neurons"].labels("cell_type")) == {"neuron"}


@pytest.mark.slow
def test_small_runs_lead_to_claims(tmp_path, monkeypatch):
    found = claims_of_cut_runs("composition_blood", 40, tmp_path, monkeypatch)
    assert len({claim.name for claim in found}) == len(found) >= 6
    # One replicate has no interval, so that no difference is seen; what is counted over cells needs none.
    # Of one it is counted how often tests differ.
    verdicts = {claim.name: claim.verdict for claim in found}
    assert verdicts.pop("Nearly all corpora differ by a t test over cells") == "not seen"
    assert {*verdicts.values()} <= {"undecided", "no verdict"}
    assert all(claim.estimate.n <= 1 or claim.name.startswith("Nearly") for claim in found)


@pytest.mark.slow
def test_a_run_on_richer_data_leads_to_claims(tmp_path, monkeypatch):
    monkeypatch.setattr("corpuscle.execution.workflow.written", lambda folder: None)
    study = tomllib.loads((FOLDER / "richer.toml").read_text(encoding="utf-8"))
    for at, source in enumerate(study["sources"].values()):
        labels = {"cell_type": ["a", "b"], "donor": ["human1", "human3"]}
        write(tmp_path / source["path"], 160, labels, by_symbol(), 60 + at)
    text = cut((FOLDER / "richer.toml").read_text(encoding="utf-8"), 40)
    found = module_at(FOLDER / "claims.py").richer(
        corpuscle.run(corpuscle.Study.parse(text, tmp_path), tmp_path / "run", workers=0, page=False)
    )
    assert len({claim.name for claim in found}) == len(found) == 3
    assert {(claim.verdict, claim.estimate.n) for claim in found} == {("undecided", 1)}
