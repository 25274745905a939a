"""Add Ensembl ids to the published batches of blood cells, which name genes by symbol: two models know genes by id.

``python studies/imbalance_integration/convert.py FOLDER`` reads from FOLDER

- the folders ``pbmc_2_batch_base_balanced``, ``pbmc_4_batch`` and ``pbmc_2_batch`` of Maan et al. 2024 (``.h5ad``), as
  far as they are there;
- ``genes.tsv``, 10x Genomics' list of the 33,694 genes of GRCh38-1.2.0, which comes with each of its data sets of that
  time: ``filtered_gene_bc_matrices/GRCh38/genes.tsv`` of
  https://cf.10xgenomics.com/samples/cell-exp/2.1.0/pbmc8k/pbmc8k_filtered_gene_bc_matrices.tar.gz.

It writes ``var["ensembl_id"]`` into each file, in place, and changes nothing else. A symbol that the list has several
times is numbered as scanpy does (``MATR3``, ``MATR3-1``), in the list's order. What is not in the list has no id.
"""

import sys
from pathlib import Path

import anndata as ad
import pandas as pd
from anndata.utils import make_index_unique

from corpuscle.core.errors import InputError
from corpuscle.source.reader import reading

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from script import a_folder, refuse_missing, run, words, write_cells

FOLDERS, GENES = ("pbmc_2_batch_base_balanced", "pbmc_4_batch", "pbmc_2_batch"), "genes.tsv"
# With fewer of a file's genes in the list, the list is of another genome.
FEWEST = 0.8


def ids_of_symbols(path: Path) -> "pd.Series[str]":
    """Return Ensembl ids by symbol, as scanpy numbers symbols that are there several times."""
    with reading(path, "10x Genomics' list of genes"):
        genes = pd.read_csv(path, sep="\t", header=None, dtype=str, usecols=[0, 1], keep_default_na=False)
    return pd.Series(genes[0].to_numpy(), index=make_index_unique(pd.Index(genes[1])))


def with_ids(path: Path, ids: "pd.Series[str]") -> ad.AnnData:
    """Return the cells of a file with ``var["ensembl_id"]``.

    Raises
    ------
    InputError
        When it cannot be read, or the list has too few of its genes.
    """
    with reading(path, ".h5ad"):
        cells = ad.read_h5ad(path)
    found = ids.reindex(cells.var_names)
    if (share := found.notna().mean()) < FEWEST:
        raise InputError(
            f"{path}: expected genes by symbol, as {GENES} has them; it has {share:.0%} of these {cells.n_vars:,}; "
            "give the list of the genome that the file is of"
        )
    cells.var["ensembl_id"] = found.fillna("").to_numpy()
    return cells


def main() -> None:
    """Add ids to the files of a folder; all are read before one is written."""
    parser = words(__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=a_folder, help="where the downloads are")
    folder = parser.parse_args().folder
    refuse_missing(folder, [GENES], "take it from a download of 10x Genomics, as this script's --help says")
    if not (paths := sorted(path for name in FOLDERS for path in (folder / name).glob("*.h5ad"))):
        raise InputError(f"{folder}: expected {' or '.join(FOLDERS)} with .h5ad files; none is there")
    ids = ids_of_symbols(folder / GENES)
    for path, cells in [(path, with_ids(path, ids)) for path in paths]:
        write_cells(cells, path)


if __name__ == "__main__":
    run(main)
