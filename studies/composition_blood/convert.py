"""Write the Curated Cancer Cell Atlas and the TF Atlas as they are downloaded as the files that the full studies read.

``python studies/composition_blood/convert.py FOLDER`` reads from FOLDER what it finds there:

- ``Data_STUDY_TISSUE/`` of the Curated Cancer Cell Atlas (3CA, https://www.weizmann.ac.il/sites/3CA), unpacked, with
  ``Exp_data_UMIcounts.mtx`` (genes × cells), ``Genes.txt`` and ``Cells.csv``, in itself or in folders of their own. It
  writes ``3ca/STUDY.h5ad`` for the haematological ones (``TISSUE`` is ``Hematologic``), ``STUDY.h5ad`` for others.
  Studies that have no UMI counts are named and left out.
- ``GSE217460_210322_TFAtlas_subsample_raw.h5ad`` of accession GSE217460 (Joung et al. 2023, doi
  10.1016/j.cell.2022.11.026), and GTEx' ``GTEx_Analysis_2017-06-05_v8_RNASeQCv1.1.9_gene_median_tpm.gct``. It writes
  ``tf_atlas.h5ad`` with the cells whose factor GTEx finds in whole blood, as published: z-score of its median TPM over
  tissues above -0.25.

Both name genes by symbol. The Ensembl ids are those that the Census has for the symbols: from ``genes.csv`` in FOLDER
(``feature_id``, ``feature_name``), which is written at first from the Census itself (over the network; extra
``census``). Genes without an id are left out, as published; of several with one id, the first is kept.
"""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.io import mmread
from scipy.sparse import csr_matrix

from corpuscle.core.errors import InputError
from corpuscle.source.reader import gist, reading
from corpuscle.store import write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from script import a_folder, refuse_missing, run, words, write_cells

CENSUS = "2023-05-15"
COUNTS = "Exp_data_UMIcounts"
STUDIES = "Data_*_*"
TF_ATLAS = "GSE217460_210322_TFAtlas_subsample_raw.h5ad"
GTEX = "GTEx_Analysis_2017-06-05_v8_RNASeQCv1.1.9_gene_median_tpm.gct"
LEAST_Z = -0.25


def ids_of_symbols(folder: Path) -> "pd.Series[str]":
    """Return Ensembl ids by symbol; ``genes.csv`` is written where it is not there yet."""
    path = folder / "genes.csv"
    if not path.exists():
        write_text(path, genes_of_census().to_csv(index=False))
    with reading(path, "a table with feature_id and feature_name"):
        known = pd.read_csv(path, dtype=str).drop_duplicates("feature_name")
        return known.set_index("feature_name")["feature_id"]


def genes_of_census() -> pd.DataFrame:
    """Return the genes of the Census: ``feature_id``, ``feature_name``; read over the network."""
    needed = "or write genes.csv (feature_id, feature_name) into the folder yourself"
    try:
        import cellxgene_census
    except ImportError:
        raise InputError(
            f"the Census' genes need the extra census: pip install 'corpuscle[census]'; {needed}"
        ) from None
    try:
        with cellxgene_census.open_soma(census_version=CENSUS) as census:
            genes = census["census_data"]["homo_sapiens"].ms["RNA"].var
            found: pd.DataFrame = genes.read(column_names=["feature_id", "feature_name"]).concat().to_pandas()
    # No network, …: errors of requests, botocore, tiledb and cellxgene_census.
    except Exception as error:
        raise InputError(
            f"the Census' genes cannot be read ({gist(error)}); see that this machine reaches the internet, {needed}"
        ) from error
    return found


def with_ids(counts: csr_matrix, obs: pd.DataFrame, symbols: "pd.Index[str]", ids: "pd.Series[str]") -> ad.AnnData:
    """Return cells with the genes that have an id of their own, in ``var["ensembl_id"]``, by symbol."""
    found = pd.DataFrame({"ensembl_id": ids.reindex(symbols).to_numpy()}, symbols)
    own = (found["ensembl_id"].notna() & ~found["ensembl_id"].duplicated()).to_numpy()
    return ad.AnnData(counts[:, np.flatnonzero(own)], obs, found[own])


def tables_of(counts: Path) -> tuple[Path, Path]:
    """Return the tables of cells and of genes that belong to counts of 3CA."""
    suffix = counts.stem.removeprefix(COUNTS)
    return counts.with_name(f"Cells{suffix}.csv"), counts.with_name(f"Genes{suffix}.txt")


def cancer(folder: Path, ids: "pd.Series[str]") -> ad.AnnData | None:
    """Return all cells of a study of 3CA: raw counts and the columns of Cells.csv; None where it has no UMI counts."""
    name, parts = folder.name.split("_")[1], []
    for path in sorted(folder.rglob(f"{COUNTS}*.mtx")):
        cells_path, genes_path = tables_of(path)
        with reading(cells_path, "3CA's table of cells"):
            obs = pd.read_csv(cells_path, index_col=0)
        with reading(genes_path, "3CA's list of genes"):
            genes = pd.read_csv(genes_path, header=None, sep="\t", dtype=str)[0]
        with reading(path, "a Matrix Market file"):
            counts = csr_matrix(mmread(path).T, dtype=np.float32)
        if counts.shape != (len(obs), len(genes)):
            raise InputError(
                f"{path}: expected {len(genes):,} genes × {len(obs):,} cells, as {genes_path.name} and "
                f"{cells_path.name} have; got {counts.shape[1]:,} × {counts.shape[0]:,}; download the study again"
            )
        obs.index = obs.index.astype(str) + f" {len(parts)}"
        parts.append(with_ids(counts, obs, pd.Index(genes.to_numpy()), ids))
    if not parts:
        return None
    cells = ad.concat(parts, merge="same")
    cells.obs["study"] = name
    # Columns of mixed kinds, such as numbers and words, cannot be written.
    for column in cells.obs.select_dtypes("object"):
        cells.obs[column] = cells.obs[column].astype("string").astype("category")
    return cells


def factors_in_blood(path: Path) -> set[str]:
    """Return the symbols whose z-score over GTEx' tissues is high enough in whole blood."""
    with reading(path, "GTEx' table of medians"):
        tissues = pd.read_csv(path, sep="\t", skiprows=2).drop(columns="Name").set_index("Description")
        spread = tissues.std(axis=1, ddof=0)
        z = (tissues["Whole Blood"] - tissues.mean(axis=1)) / spread.where(spread > 0)
    return set(z.index[z > LEAST_Z])


def tf_atlas(folder: Path, ids: "pd.Series[str]") -> ad.AnnData:
    """Return the cells of factors of whole blood: raw counts, ``TF`` as published and ``gene``, its symbol."""
    with reading(folder / TF_ATLAS, ".h5ad with a column TF"):
        cells = ad.read_h5ad(folder / TF_ATLAS)
        cells.obs["gene"] = cells.obs["TF"].astype(str).str.split("-").str[1]
    cells = cells[cells.obs["gene"].isin(factors_in_blood(folder / GTEX)).to_numpy()].copy()
    return with_ids(csr_matrix(cells.X, dtype=np.float32), cells.obs, cells.var_names, ids)


def refuse_incomplete(folder: Path) -> None:
    """Refuse a folder without downloads, or with a part of one, before anything is read or written.

    Raises
    ------
    InputError
        With what is missing.
    """
    counts, atlas = [*folder.glob(f"{STUDIES}/**/{COUNTS}*.mtx")], (folder / TF_ATLAS).exists()
    if not counts and not atlas:
        raise InputError(
            f"{folder}: expected unpacked studies of 3CA (Data_STUDY_TISSUE/ with {COUNTS}.mtx), or {TF_ATLAS}; "
            "none is there; download them as the full study files say"
        )
    if missing := sorted(str(table) for path in counts for table in tables_of(path) if not table.exists()):
        raise InputError(f"expected {', '.join(missing)}, which 3CA has next to the counts; download the study again")
    if atlas:
        refuse_missing(folder, [GTEX], "download it from https://gtexportal.org, and unpack it")


def convert(folder: Path) -> list[Path]:
    """Write what the downloads in a folder allow; return the files.

    Raises
    ------
    InputError
        When there is none, or one is incomplete or damaged. Each file is written whole or not at all.
    """
    refuse_incomplete(folder)
    ids, written = ids_of_symbols(folder), []
    for study in sorted(path for path in folder.glob(STUDIES) if path.is_dir()):
        if (cells := cancer(study, ids)) is None:
            sys.stderr.write(f"{study.name}: no {COUNTS}.mtx, left out\n")
            continue
        into = folder / "3ca" if study.name.endswith("_Hematologic") else folder
        written.append(into / f"{study.name.split('_')[1]}.h5ad")
        write_cells(cells, written[-1])
    if (folder / TF_ATLAS).exists():
        written.append(folder / "tf_atlas.h5ad")
        write_cells(tf_atlas(folder, ids), written[-1])
    else:
        sys.stderr.write(f"{TF_ATLAS}: not there, so that tf_atlas.h5ad is not written\n")
    return written


def main() -> None:
    """Convert what a folder has."""
    parser = words(__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=a_folder, help="where the downloads are")
    convert(parser.parse_args().folder)


if __name__ == "__main__":
    run(main)
