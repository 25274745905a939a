"""Write sciplex2 as it is downloaded from GEO as one AnnData file, which the full study files read.

``python studies/bulk_finetuning/convert.py FOLDER`` reads from FOLDER the three files of accession GSM4150377
(Srivatsan et al. 2020, doi 10.1126/science.aax6234), as they are:

- ``GSM4150377_sciPlex2_A549_Transcription_Modulators_UMI.count.matrix.gz``: gene, cell, count; both from 1;
- ``GSM4150377_sciPlex2_A549_Transcription_Modulators_gene.annotations.txt.gz``: Ensembl id and symbol;
- ``GSM4150377_sciPlex2_pData.txt.gz``: a row for each cell, in the order of the matrix.

It writes ``FOLDER/sciplex2.h5ad``. A cell's drug and dose are those of its first hash oligo (``top_oligo``,
``DRUG_DOSE_WELL``); at dose 0, cells had the vehicle alone and are ``Untreated``. As the authors of the data did, cells
are kept with more than 30 hash UMIs, ten times as many of the first oligo as of the second, and a q-value below 0.01.
"""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from corpuscle.source.reader import reading

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from script import a_folder, refuse_missing, run, words, write_cells

COUNTS = "GSM4150377_sciPlex2_A549_Transcription_Modulators_UMI.count.matrix.gz"
GENES = "GSM4150377_sciPlex2_A549_Transcription_Modulators_gene.annotations.txt.gz"
CELLS = "GSM4150377_sciPlex2_pData.txt.gz"
NUMBERS = ("hash_umis", "top_to_second_best_ratio", "qval")


def sciplex2(folder: Path) -> ad.AnnData:
    """Return the cells with a sure drug: raw counts, ``drug``, ``dose`` and ``replicate`` (the well).

    Raises
    ------
    InputError
        When one of the three files is not there, or is damaged.
    """
    refuse_missing(folder, (COUNTS, GENES, CELLS), "download them from GEO, accession GSM4150377, as they are")
    with reading(folder / CELLS, "GEO's table of cells"):
        obs = pd.read_csv(folder / CELLS, sep=" ").astype(dict.fromkeys(NUMBERS, float))
        has_drug = obs["top_oligo"].notna()
    with reading(folder / GENES, "GEO's list of genes"):
        var = pd.read_csv(folder / GENES, sep="\t", header=None, names=["ensembl_id", "symbol"])
    with reading(folder / COUNTS, "gene, cell and count, line by line"):
        found = pd.read_csv(folder / COUNTS, sep="\t", header=None, names=["gene", "cell", "count"])
        where = found["cell"].to_numpy() - 1, found["gene"].to_numpy() - 1
        counts = csr_matrix((found["count"].to_numpy(np.float32), where), shape=(len(obs), len(var)))
    var["ensembl_id"] = var["ensembl_id"].str.partition(".")[0]
    cells = ad.AnnData(counts, obs.set_index(obs.index.astype(str)), var.set_index(var["ensembl_id"].rename(None)))
    cells.var_names_make_unique()
    sure = (obs["hash_umis"] > 30) & (obs["top_to_second_best_ratio"] > 10) & (obs["qval"] < 0.01)
    cells = cells[(sure & has_drug).to_numpy()].copy()
    drug_dose_well = cells.obs.pop("top_oligo").str.split("_", n=2)
    dose = pd.to_numeric(drug_dose_well.str[1], errors="coerce")
    cells.obs["drug"] = drug_dose_well.str[0].where(dose != 0, "Untreated")
    cells.obs["dose"] = dose
    cells.obs["replicate"] = drug_dose_well.str[2]
    return cells[dose.notna().to_numpy()].copy()


def main() -> None:
    """Write the cells into the folder of the downloads."""
    parser = words(__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=a_folder, help="where the downloads are")
    into = parser.parse_args().folder
    write_cells(sciplex2(into), into / "sciplex2.h5ad")


if __name__ == "__main__":
    run(main)
