"""Write Tabula Muris' FACS tissues as they are downloaded as one AnnData file, which the full study file reads.

``python studies/calibrated_clustering/convert.py FOLDER`` reads from FOLDER what figshare has as version 2
(https://figshare.com/articles/dataset/5829687): ``annotations_facs.csv``, and ``FACS/TISSUE-counts.csv`` of the unpacked
``FACS.zip`` for each of 20 tissues (genes × cells). It writes ``FOLDER/tabula_muris_facs.h5ad``: cells with an annotation,
raw counts, the columns ``tissue``, ``cell_ontology_class`` and ``mouse.id``. Spike-ins (``ERCC-…``) are left out.
"""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

COLUMNS = ["tissue", "cell_ontology_class", "mouse.id"]


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


if __name__ == "__main__":
    into = Path(sys.argv[1])
    tabula_muris_facs(into).write_h5ad(into / "tabula_muris_facs.h5ad", compression="gzip")
