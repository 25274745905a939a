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

from corpuscle.core.errors import InputError
from corpuscle.source.reader import reading

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from script import a_folder, refuse_missing, run, words, write_cells

N_TISSUES = 20
ANNOTATIONS, TISSUES = "annotations_facs.csv", "FACS/*-counts.csv"
COLUMNS = ["tissue", "cell_ontology_class", "mouse.id"]
HUMANS = [f"GSM*_human{donor}_umifm_counts.csv.gz" for donor in range(1, 5)]
FROM_FIGSHARE = "download it from https://figshare.com/articles/dataset/5829687 (version 2), and unpack FACS.zip"
FROM_GEO = "download GSE84133_RAW.tar from GEO, accession GSE84133, and unpack it"


def tabula_muris_facs(folder: Path) -> ad.AnnData:
    """Return the annotated cells of all tissues: raw counts, mouse symbols.

    Raises
    ------
    InputError
        When the annotation or a tissue's counts are not there, or are damaged.
    """
    refuse_missing(folder, (ANNOTATIONS, TISSUES), FROM_FIGSHARE)
    if (n_found := len(paths := sorted(folder.glob(TISSUES)))) < N_TISSUES:
        raise InputError(f"{folder}: expected {TISSUES} of {N_TISSUES} tissues; got {n_found}; {FROM_FIGSHARE}")
    with reading(folder / ANNOTATIONS, "the table of annotations"):
        known = pd.read_csv(folder / ANNOTATIONS, usecols=["cell", *COLUMNS]).set_index("cell")
    known = known[known["cell_ontology_class"].notna()]
    parts = []
    for path in paths:
        with reading(path, "a table of genes × cells"):
            table = pd.read_csv(path, index_col=0)
            table = table.loc[~table.index.str.startswith("ERCC-"), table.columns.isin(known.index)]
            counts = csr_matrix(table.to_numpy(np.float32).T)
        parts.append(ad.AnnData(counts, known.loc[table.columns], pd.DataFrame(index=table.index.astype(str))))
    return ad.concat(parts)


def pancreas(folder: Path) -> ad.AnnData:
    """Return the cells of four donors: raw counts, symbols, ``assigned_cluster`` and ``donor``.

    Raises
    ------
    InputError
        When a donor's file is not there, or is damaged.
    """
    refuse_missing(folder, HUMANS, FROM_GEO)
    parts = []
    for path in sorted(path for donor in HUMANS for path in folder.glob(donor)):
        with reading(path, "a table of cells × genes"):
            table = pd.read_csv(path, index_col=0)
            obs = table[["assigned_cluster"]].assign(donor=path.name.split("_")[1])
            counts = table.drop(columns=["barcode", "assigned_cluster"])
            parts.append(ad.AnnData(csr_matrix(counts.to_numpy(np.float32)), obs, pd.DataFrame(index=counts.columns)))
    return ad.concat(parts)


def main() -> None:
    """Write what the folder has the files of; a part of them is refused before anything is written."""
    parser = words(__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=a_folder, help="where the downloads are")
    folder = parser.parse_args().folder
    mice, humans = (any(any(folder.glob(name)) for name in names) for names in ((ANNOTATIONS, TISSUES), HUMANS))
    if not mice and not humans:
        raise InputError(
            f"{folder}: expected {ANNOTATIONS} and {TISSUES}, or {', '.join(HUMANS)}; none is there. Of the first, "
            f"{FROM_FIGSHARE}; of the second, {FROM_GEO}"
        )
    made = {}
    if mice:
        made["tabula_muris_facs.h5ad"] = tabula_muris_facs(folder)
    if humans:
        made["pancreas.h5ad"] = pancreas(folder)
    for name, cells in made.items():
        write_cells(cells, folder / name)


if __name__ == "__main__":
    run(main)
