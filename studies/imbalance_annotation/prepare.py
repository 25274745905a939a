"""Write the files that the small studies read next to them, from blood cells that come with the package.

``python studies/imbalance_annotation/prepare.py`` writes

- ``genes.txt`` (kept in the repository): the 300 genes whose log expression varies most for its mean, as annotation was
  published on 3,000 such genes;
- ``wrong_names.h5ad`` (not kept): `pbmc3k` at these genes, with their names permuted. A model that knows genes by name
  reads each gene's counts under the token of another there, as it does where numbers of columns are its token ids.
"""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from corpuscle.source.source import dataset_path
from corpuscle.store import write_text

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from script import run, words, write_cells  # noqa: E402

N_GENES, N_BINS, LEAST_MEAN = 300, 20, 0.05


def variable_genes(cells: ad.AnnData) -> list[str]:
    """Return the symbols of the genes whose ratio of variance to mean is highest among genes of like mean, sorted."""
    counts = cells.X.astype(float)
    log = counts.multiply(1e4 / counts.sum(axis=1)).tocsr().log1p()
    mean = np.asarray(log.mean(axis=0)).ravel()
    variance = np.asarray(log.power(2).mean(axis=0)).ravel() - mean**2
    genes = pd.DataFrame({"mean": mean, "ratio": variance / np.maximum(mean, 1e-9)}, index=cells.var["symbol"])
    genes["bin"] = pd.qcut(genes["mean"].rank(method="first"), N_BINS, labels=False)
    ratio = genes.groupby("bin")["ratio"]
    genes["rise"] = (genes["ratio"] - ratio.transform("median")) / ratio.transform("std")
    return sorted(genes[genes["mean"] > LEAST_MEAN].nlargest(N_GENES, "rise").index)


def with_wrong_names(cells: ad.AnnData, genes: list[str]) -> ad.AnnData:
    """Return the cells at some genes, whose names are permuted: none keeps its own."""
    named = cells[:, cells.var["symbol"].isin(genes)].copy()
    order = np.random.default_rng(0).permutation(named.n_vars)
    names = named.var[["symbol", "ensembl_id"]]
    wrong = np.empty_like(order)
    # One cycle through all genes.
    wrong[order] = np.roll(order, 1)
    named.var = names.iloc[wrong].set_axis(names["symbol"].iloc[wrong].to_numpy(), axis=0)
    return named


def main(folder: Path) -> None:
    """Write both files into a folder."""
    cells = ad.read_h5ad(dataset_path("pbmc3k"))
    genes = variable_genes(cells)
    write_text(folder / "genes.txt", "".join(f"{gene}\n" for gene in genes))
    write_cells(with_wrong_names(cells, genes), folder / "wrong_names.h5ad")


def called() -> None:
    """Write them next to this script."""
    words(__doc__).parse_args()
    main(HERE)


if __name__ == "__main__":
    run(called)
