"""Scripts of the studies that are given what they cannot use: one message, exit code 2, and nothing written."""

import json
import runpy
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from published import STUDIES, summarise

SCRIPTS = sorted(path for name in ("convert", "simulate", "prepare") for path in STUDIES.glob(f"*/{name}.py"))
SCRIPTS += [STUDIES / "summarise.py", STUDIES / "mixture_results.py"]
BULK, CLUSTERING, BLOOD, ANNOTATION, INTEGRATION = (
    STUDIES / study / "convert.py"
    for study in (
        "bulk_finetuning", "calibrated_clustering", "composition_blood", "imbalance_annotation",
        "imbalance_integration",
    )
)  # fmt: skip
TF_ATLAS = "GSE217460_210322_TFAtlas_subsample_raw.h5ad"
GTEX = "GTEx_Analysis_2017-06-05_v8_RNASeQCv1.1.9_gene_median_tpm.gct"
SCIPLEX = (
    "GSM4150377_sciPlex2_A549_Transcription_Modulators_UMI.count.matrix.gz",
    "GSM4150377_sciPlex2_A549_Transcription_Modulators_gene.annotations.txt.gz",
    "GSM4150377_sciPlex2_pData.txt.gz",
)


@pytest.fixture
def refused(monkeypatch, capsys):
    """Run a script with words that it refuses; return its message."""

    def call(script, *words):
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(script), run_name="__main__")
        said = capsys.readouterr()
        assert caught.value.code == 2
        assert not said.out
        return said.err

    return call


def name_of(script):
    return script.relative_to(STUDIES).as_posix()


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_words_that_a_script_does_not_know_are_refused_with_its_usage(refused, script):
    assert "usage: " in refused(script, "--no-such-option")


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script.stem != "prepare"], ids=name_of)
def test_a_folder_that_is_not_there_is_refused(refused, tmp_path, script):
    pages = {path: path.stat().st_mtime_ns for path in summarise.PAGES.iterdir()}
    for name in ("nowhere", "a" * 300):
        assert "is not there" in refused(script, tmp_path / name)
    if script.stem not in ("simulate", "prepare"):
        assert "required: " in refused(script)
        assert "expected" in refused(script, tmp_path)
    assert not [*tmp_path.iterdir()]
    assert pages == {path: path.stat().st_mtime_ns for path in summarise.PAGES.iterdir()}


def test_a_number_of_cells_that_is_none_is_refused(refused, tmp_path):
    for number in ("0", "-3", "many", "1.5"):
        assert "whole number" in refused(STUDIES / "calibrated_clustering" / "simulate.py", tmp_path, "--", number)
    assert not [*tmp_path.iterdir()]


def study_of_3ca(folder, *, without=""):
    """Write two cells as a study of 3CA, but for one of its files."""
    place = folder / "Data_Liu2021_Hematologic"
    place.mkdir()
    matrix = "%%MatrixMarket matrix coordinate integer general\n2 2 2\n1 1 3\n2 2 4\n"
    for name, text in (
        ("Exp_data_UMIcounts.mtx", matrix),
        ("Genes.txt", "A\nB\n"),
        ("Cells.csv", "cell_name,cell_type\na,Malignant\nb,Malignant\n"),
    ):
        if name != without:
            (place / name).write_text(text)
    return place


# What is in the folder (a text, or a study of 3CA), and what the message should name.
PARTS = {
    "bulk, one file": (BULK, {SCIPLEX[0]: ""}, SCIPLEX[1:]),
    "bulk, damaged": (BULK, dict.fromkeys(SCIPLEX, "no gzip"), [SCIPLEX[2], "truncated, damaged"]),
    "annotation alone": (CLUSTERING, {"annotations_facs.csv": ""}, ["FACS/*-counts.csv", "figshare"]),
    "counts of one tissue": (
        CLUSTERING, {"annotations_facs.csv": "", "FACS/Fat-counts.csv": ""}, ["20 tissues; got 1"],
    ),
    "counts without annotation": (CLUSTERING, {"FACS/Fat-counts.csv": ""}, ["annotations_facs.csv"]),
    "one donor": (
        CLUSTERING, {"GSM2230757_human1_umifm_counts.csv.gz": ""}, ["human2", "human3", "human4", "GSE84133"],
    ),
    "genes alone": (BLOOD, {"genes.csv": "feature_id,feature_name\nENSG1,A\n"}, ["Data_STUDY_TISSUE/", TF_ATLAS]),
    "types alone": (ANNOTATION, {"68k_pbmc_barcodes_annotation.tsv": ""}, ["filtered_matrices_mex/hg19/matrix.mtx"]),
    "design alone": (ANNOTATION, {"ExpDesign-E-HCAD-35.tsv": ""}, ["counts.mtx, ", "mtx_rows", "hg19/genes.tsv"]),
    "pancreas, damaged": (ANNOTATION, {"baron2016_human_pancreas.h5ad": ""}, ["baron2016_human", "damaged"]),
    "list of genes alone": (INTEGRATION, {"genes.tsv": "E1\tA\n"}, ["pbmc_2_batch_base_balanced or pbmc_4_batch or"]),
    "batch, damaged": (INTEGRATION, {"genes.tsv": "E1\tA\n", "pbmc_4_batch/a.h5ad": ""}, ["a.h5ad", "damaged"]),
    "not unpacked": (BLOOD, {"Data_Liu2021_Hematologic.zip": ""}, ["unpacked", "Exp_data_UMIcounts.mtx"]),
    "a study without counts": (BLOOD, {"Data_Liu2021_Hematologic/Exp_data_TPM.mtx": ""}, ["Exp_data_UMIcounts.mtx"]),
    "TF Atlas without GTEx": (BLOOD, {TF_ATLAS: ""}, [GTEX, "gtexportal.org"]),
    "TF Atlas, damaged": (
        BLOOD, {TF_ATLAS: "", GTEX: "", "genes.csv": "feature_id,feature_name\nENSG1,A\n"}, [TF_ATLAS, "damaged"],
    ),
    "other genes.csv": (BLOOD, {TF_ATLAS: "", GTEX: "", "genes.csv": "id,name\nE1,A\n"}, ["genes.csv", "feature_id"]),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTS)
def test_missing_and_damaged_downloads_are_named(refused, tmp_path, case):
    script, files, named = PARTS[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    message = refused(script, tmp_path)
    assert all(name in message for name in named), message
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == set(files)


@pytest.mark.parametrize("without", ["Cells.csv", "Genes.txt"])
def test_a_study_without_its_tables_is_named_before_the_census_is_asked(refused, tmp_path, without):
    assert str(study_of_3ca(tmp_path, without=without) / without) in refused(BLOOD, tmp_path)


def test_a_study_whose_parts_do_not_fit_writes_nothing(refused, tmp_path):
    place = study_of_3ca(tmp_path)
    (tmp_path / "genes.csv").write_text("feature_id,feature_name\nENSG1,A\n")
    (place / "Genes.txt").write_text("A\n")
    assert "expected 1 genes × 2 cells" in refused(BLOOD, tmp_path)
    assert not (tmp_path / "3ca").exists()


@pytest.mark.parametrize("lacks", ["network", "package"])
def test_a_census_that_cannot_be_asked_is_one_message(refused, tmp_path, monkeypatch, lacks):
    study_of_3ca(tmp_path)
    if lacks == "package":
        monkeypatch.setitem(sys.modules, "cellxgene_census", None)
    else:
        census = pytest.importorskip("cellxgene_census")

        def unreachable(**_settings):
            raise ConnectionError("no route to host")

        monkeypatch.setattr(census, "open_soma", unreachable)
    message = refused(BLOOD, tmp_path)
    assert {"network": "no route to host", "package": "corpuscle[census]"}[lacks] in message
    assert "genes.csv" in message
    assert not (tmp_path / "genes.csv").exists()


def test_what_is_written_is_whole_and_what_is_not_there_is_named(tmp_path, monkeypatch, capsys):
    study_of_3ca(tmp_path)
    (tmp_path / "genes.csv").write_text("feature_id,feature_name\nENSG1,A\n")
    monkeypatch.setattr(sys, "argv", [str(BLOOD), str(tmp_path)])
    runpy.run_path(str(BLOOD), run_name="__main__")
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / '3ca' / 'Liu2021.h5ad'}\n"
    assert said.err.startswith(TF_ATLAS)
    assert ad.read_h5ad(tmp_path / "3ca" / "Liu2021.h5ad").X.sum() == 3


def test_a_study_whose_small_files_have_not_all_run_is_refused(refused, tmp_path):
    (tmp_path / "imbalance_annotation" / "small").mkdir(parents=True)
    message = refused(STUDIES / "summarise.py", tmp_path)
    assert "not there: small_tokens" in message
    assert "corpuscle run studies/imbalance_annotation/small_tokens.toml" in message


def test_runs_without_what_a_claim_is_about_are_refused(tmp_path, monkeypatch):
    (tmp_path / "claims.py").write_text("def claims(runs):\n    raise ValueError('no score has a')\n")
    monkeypatch.setattr(summarise, "small_files", lambda study: [])
    monkeypatch.setattr(summarise, "HERE", tmp_path.parent)
    with pytest.raises(summarise.InputError, match="no score has a"):
        summarise.said_of(tmp_path.name, tmp_path)


def test_a_run_that_is_not_finished_leads_to_no_claims(tmp_path, monkeypatch):
    (tmp_path / "provenance.json").write_text(json.dumps({"unfinished": True}))
    monkeypatch.setattr(summarise.Results, "load", lambda folder: folder)
    with pytest.raises(summarise.InputError, match="its run is not finished; run its file again"):
        summarise.finished(tmp_path)
    (tmp_path / "provenance.json").write_text("{}")
    assert summarise.finished(tmp_path) == tmp_path


def test_a_search_that_is_damaged_writes_no_page(refused, tmp_path):
    (tmp_path / "scorecard.csv").write_text("a\n1\n")
    assert "scorecard.csv" in refused(STUDIES / "mixture_results.py", tmp_path)


def test_simulated_cells_go_where_they_are_asked_for(tmp_path, monkeypatch):
    script = STUDIES / "calibrated_clustering" / "simulate.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path), "10"])
    runpy.run_path(str(script), run_name="__main__")
    found = ad.read_h5ad(tmp_path / "simulated.h5ad")
    assert np.array_equal(pd.Series(found.obs["simulation"]).value_counts().unique(), [10])
