"""Write the cells that the full study reads, from files as they are downloaded.

``python studies/calibrated_clustering/convert.py FOLDER`` writes into FOLDER what it finds the files of there:

- ``tabula_muris_facs.h5ad``, from version 2 of https://figshare.com/articles/dataset/5829687:
  ``annotations_facs.csv``, and ``FACS/TISSUE-counts.csv`` of the unpacked ``FACS.zip`` (genes × cells) for each of 20
  tissues. Cells with an annotation; spike-ins (``ERCC-…``) are left out.
- ``pancreas.h5ad``, from GEO, accession GSE84133 (Baron et al. 2016): ``GSM…_human1_umifm_counts.csv.gz`` to ``human4``
  of the unpacked ``GSE84133_RAW.tar`` (cells × genes, with ``barcode`` and ``assigned_cluster``).
"""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

COLUMNS = ["tissue", "cell_ontology_class", "mouse.id"]
HUMANS = "GSM*_human?_umifm_counts.csv.gz"


def tabula_muris_facs(folder: Path) -> ad.AnnData:
    """Return the annotated cells of all tissues: raw counts, mouse symbols."""
    known = pd.read_csv(folder / "annotations_facs.csv", usecols=["cell", *COLUMNS]).set_index("cell")
    known = known[known["cell_ontology_class"].notna()]
    parts = []
    for path in sorted((folder / "FACS").glob("*-counts.csv")):
        table = pd.read_csv(path, index_col=0)
        table = table.loc[~table.index.str.startswith("ERCC-"), table.columns.isin(known.index)]
        counts = csr_matrix(table.to_numpy(np.float32).T)
        parts.append(ad.AnnData(counts, known.loc[table.columns], pd.DataFrame(index=table.index.astype(str))))
    return ad.concat(parts)


def pancreas(folder: Path) -> ad.AnnData:
    """Return the cells of four donors: raw counts, symbols, ``assigned_cluster`` and ``donor``."""
    parts = []
    for path in sorted(folder.glob(HUMANS)):
        table = pd.read_csv(path, index_col=0)
        donor = path.name.split("_")[1]
        obs = table[["assigned_cluster"]].assign(donor=donor)
        counts = table.drop(columns=["barcode", "assigned_cluster"])
        parts.append(ad.AnnData(csr_matrix(counts.to_numpy(np.float32)), obs, pd.DataFrame(index=counts.columns)))
    return ad.concat(parts)


if __name__ == "__main__":
    into = Path(sys.argv[1])
    if (into / "annotations_facs.csv").exists():
        tabula_muris_facs(into).write_h5ad(into / "tabula_muris_facs.h5ad", compression="gzip")
    if any(into.glob(HUMANS)):
        pancreas(into).write_h5ad(into / "pancreas.h5ad", compression="gzip")
