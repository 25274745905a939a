"""Write the cells and the lists of genes that the full studies, and the one on richer data, read from downloads.

``python studies/imbalance_annotation/convert.py FOLDER`` writes into FOLDER what it finds the files of there:

- ``zheng68k.h5ad`` and ``genes_3000.txt``, from 10x Genomics' "Fresh 68k PBMCs (Donor A)"
  (https://cf.10xgenomics.com/samples/cell-exp/1.1.0/fresh_68k_pbmc_donor_a/fresh_68k_pbmc_donor_a_filtered_gene_bc_matrices.tar.gz),
  unpacked to ``filtered_matrices_mex/hg19``, and ``68k_pbmc_barcodes_annotation.tsv`` of the folder pbmc68k_analysis of
  https://github.com/10XGenomics/single-cell-3prime-paper: its ``celltype`` by its ``barcodes``.
- ``E-HCAD-35.h5ad`` and ``genes_3000_brain.txt``, from https://www.ebi.ac.uk/gxa/sc/experiments/E-HCAD-35/downloads:
  the raw counts, unpacked as ``E-HCAD-35.aggregated_filtered_counts.mtx``, ``….mtx_rows`` and ``….mtx_cols``, and
  ``ExpDesign-E-HCAD-35.tsv``, whose columns become obs. It names genes by Ensembl id: symbols are those that
  ``filtered_matrices_mex/hg19/genes.tsv`` of the other download has for them; a gene that is not there has none.
- ``genes_500_pancreas.txt``, from ``baron2016_human_pancreas.h5ad`` (see ``richer.toml``).

The lists are the 3,000 most variable genes (500 of pancreas), as scanpy's ``highly_variable_genes(flavor="seurat")``
chooses them of log counts per 10,000, as Ensembl ids: of all cells of blood, and of the brains without sclerosis and of
three of four donors of pancreas alone, which are trained on. How the publication chose its 3,000 is not known.

Axes in names: N cells, G genes.
"""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.io import mmread
from scipy.sparse import csr_matrix

from corpuscle.core.errors import InputError
from corpuscle.corpus.expression.variable_genes import GeneMoments, cp10k, most_variable
from corpuscle.source.reader import reading
from corpuscle.store import write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from script import a_folder, refuse_missing, run, words, write_cells

N_GENES, N_GENES_OF_PANCREAS = 3000, 500
TENX, ANNOTATION = "filtered_matrices_mex/hg19", "68k_pbmc_barcodes_annotation.tsv"
BLOOD = [*(f"{TENX}/{name}" for name in ("matrix.mtx", "genes.tsv", "barcodes.tsv")), ANNOTATION]
COUNTS, DESIGN = "E-HCAD-35.aggregated_filtered_counts.mtx", "ExpDesign-E-HCAD-35.tsv"
BRAIN = [COUNTS, f"{COUNTS}_rows", f"{COUNTS}_cols", DESIGN]
DISEASE = "Factor Value[disease]"
PANCREAS, ASKED_ABOUT = "baron2016_human_pancreas.h5ad", "human1"
DOWNLOAD = "download it as this script's --help says"


def first_columns(path: Path, names: list[str]) -> pd.DataFrame:
    """Return the first columns of a table without a header, as texts."""
    with reading(path, "a table of names"):
        return pd.read_csv(path, sep="\t", header=None, dtype=str, usecols=range(len(names))).set_axis(names, axis=1)


def counts_of(path: Path, n_cells: int, n_genes: int) -> csr_matrix:
    """Return the counts of a Matrix Market file of genes × cells, shape (N, G)."""
    with reading(path, "a Matrix Market file"):
        counts_NG = csr_matrix(mmread(path).T, dtype=np.float32)
    if counts_NG.shape != (n_cells, n_genes):
        came = f"{counts_NG.shape[1]:,} × {counts_NG.shape[0]:,}"
        raise InputError(f"{path}: expected {n_genes:,} genes × {n_cells:,} cells, as named next to it; got {came}")
    return counts_NG


def zheng68k(folder: Path) -> ad.AnnData:
    """Return the blood cells: raw counts, ``celltype``, and genes by Ensembl id with their ``symbol``.

    Raises
    ------
    InputError
        When a file is not there, is damaged, or does not annotate all cells.
    """
    refuse_missing(folder, BLOOD, DOWNLOAD)
    genes = first_columns(folder / BLOOD[1], ["ensembl_id", "symbol"])
    barcodes = first_columns(folder / BLOOD[2], ["barcode"])["barcode"]
    with reading(folder / ANNOTATION, "a table with barcodes and celltype"):
        known = pd.read_csv(folder / ANNOTATION, sep="\t", dtype=str).set_index("barcodes")["celltype"]
    if n_without := int((~barcodes.isin(known.index)).sum()):
        raise InputError(
            f"{folder / ANNOTATION}: expected a type of each of {len(barcodes):,} cells; {n_without:,} have none"
        )
    obs = pd.DataFrame({"celltype": known.loc[barcodes].to_numpy()}, index=pd.Index(barcodes.to_numpy()))
    counts = counts_of(folder / BLOOD[0], len(obs), len(genes))
    return ad.AnnData(counts, obs, genes.set_index(genes["ensembl_id"].rename(None)))


def e_hcad_35(folder: Path) -> ad.AnnData:
    """Return the nuclei: raw counts, the columns of the design, and genes by Ensembl id with their ``symbol``.

    Raises
    ------
    InputError
        When a file is not there, is damaged, or does not describe all nuclei.
    """
    refuse_missing(folder, [*BRAIN, BLOOD[1]], DOWNLOAD)
    ids = first_columns(folder / BRAIN[1], ["ensembl_id"])["ensembl_id"]
    cells = first_columns(folder / BRAIN[2], ["cell"])["cell"]
    symbols = first_columns(folder / BLOOD[1], ["ensembl_id", "symbol"]).drop_duplicates("ensembl_id")
    with reading(folder / DESIGN, f"a design with {DISEASE}"):
        design = pd.read_csv(folder / DESIGN, sep="\t", dtype=str, index_col=0).rename_axis(None)
        design[DISEASE]
    if n_without := int((~cells.isin(design.index)).sum()):
        raise InputError(f"{folder / DESIGN}: expected a row of each of {len(cells):,} nuclei; {n_without:,} have none")
    symbol = symbols.set_index("ensembl_id")["symbol"].reindex(ids).fillna("").to_numpy()
    var = pd.DataFrame({"ensembl_id": ids.to_numpy(), "symbol": symbol}, index=pd.Index(ids.to_numpy()))
    return ad.AnnData(counts_of(folder / COUNTS, len(cells), len(ids)), design.loc[cells], var)


def trained_on_of_pancreas(folder: Path) -> ad.AnnData:
    """Return the cells of the donors that are trained on, at the genes that have an Ensembl id.

    Raises
    ------
    InputError
        When the file is damaged, or lacks donors or Ensembl ids.
    """
    with reading(folder / PANCREAS, 'cells with obs["donor"] and var["ensembl_id"]'):
        cells = ad.read_h5ad(folder / PANCREAS)
        trained_on_N, named_G = cells.obs["donor"] != ASKED_ABOUT, cells.var["ensembl_id"] != ""
        return cells[trained_on_N.to_numpy(), named_G.to_numpy()].copy()


def variable_genes(cells: ad.AnnData, n_genes: int) -> str:
    """Return the Ensembl ids of the most variable genes, one a line."""
    scaled_NG = cp10k(csr_matrix(cells.X))
    mean_G = np.asarray(scaled_NG.mean(axis=0)).ravel()
    square_G = np.asarray(scaled_NG.power(2).mean(axis=0)).ravel()
    variance_G = np.maximum(square_G - mean_G**2, 0) * (cells.n_obs / max(cells.n_obs - 1, 1))
    chosen = most_variable(GeneMoments(mean_G, variance_G), n_genes)
    return "".join(f"{name}\n" for name in cells.var["ensembl_id"].iloc[chosen])


def main() -> None:
    """Write what the folder has the files of; a part of them is refused before anything is written."""
    parser = words(__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=a_folder, help="where the downloads are")
    folder = parser.parse_args().folder
    has_blood, has_brain = (folder / ANNOTATION).exists(), any((folder / name).exists() for name in BRAIN)
    has_pancreas = (folder / PANCREAS).exists()
    if not (has_blood or has_brain or has_pancreas):
        raise InputError(f"{folder}: expected {', '.join(BLOOD)}, or {', '.join(BRAIN)}, or {PANCREAS}; {DOWNLOAD}")
    blood = zheng68k(folder) if has_blood else None
    brain = e_hcad_35(folder) if has_brain else None
    pancreas = trained_on_of_pancreas(folder) if has_pancreas else None
    if pancreas is not None:
        write_text(folder / "genes_500_pancreas.txt", variable_genes(pancreas, N_GENES_OF_PANCREAS))
    if blood is not None:
        write_text(folder / "genes_3000.txt", variable_genes(blood, N_GENES))
        write_cells(blood, folder / "zheng68k.h5ad")
    if brain is not None:
        healthy = brain[(brain.obs[DISEASE] == "normal").to_numpy()]
        write_text(folder / "genes_3000_brain.txt", variable_genes(healthy, N_GENES))
        write_cells(brain, folder / "E-HCAD-35.h5ad")


if __name__ == "__main__":
    run(main)
