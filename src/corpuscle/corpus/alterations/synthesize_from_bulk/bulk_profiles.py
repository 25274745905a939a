"""Bulk profiles: a table of genes × labels read from a file, and the single cells' moments that go with them.

Axes in names: L labels, G genes of the study, R groups of cells (each label's, or all cells').
"""

from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import CorpusError
from corpuscle.core.paths import read_plain
from corpuscle.corpus.corpus import Corpus
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import GeneSpace


def read_profiles(path: Path, space: GeneSpace) -> pd.DataFrame:
    """Read bulk counts: a CSV or TSV with a gene a row, by id or symbol, and a label a column.

    Several rows of one gene are summed, as are several columns of one label.

    Returns
    -------
    Labels × the study's genes; NaN where the file has no such gene.

    Raises
    ------
    CorpusError
        When there is no such file, it has no gene of the study, or its numbers are no counts.
    """
    try:
        text = read_plain(path, "utf-8-sig")
        separator = "\t" if "\t" in text.partition("\n")[0] else ","
        # The header by itself: pandas would call a second column of one name NAME.1.
        header = pd.read_csv(StringIO(text), sep=separator, header=None, nrows=1, dtype=str).iloc[0].fillna("").tolist()
        table = pd.read_csv(StringIO(text), sep=separator, index_col=0, header=None, skiprows=1)
        table.columns = pd.Index(header[1:])
    except FileNotFoundError:
        raise CorpusError(f"there is no file of bulk profiles {path}") from None
    except (ValueError, OSError) as error:
        raise CorpusError(f"{path}: not a table of bulk profiles, with a gene a row ({error})") from error
    _refuse_other_than_counts(path, table)
    names = gene_names(pd.DataFrame(index=table.index.astype(str)))
    place = {gene: at for at, gene in enumerate(space.ids)}
    by_symbol = {symbol: at for at, symbol in reversed(list(enumerate(space.symbols)))}
    found = [
        np.array([index.get(gene, -1) if gene else -1 for gene in ids.tolist()])
        for index, ids in ((place, names.ensembl), (place, names.symbols), (by_symbol, names.symbols))
    ]
    best = max(found, key=lambda at_g: int((at_g >= 0).sum()))
    if not (best >= 0).any():
        raise CorpusError(
            f"{path}: the profiles share no gene with the study; they name {', '.join(map(str, table.index[:3]))}, …, "
            f"the study {', '.join(space.ids[:3])}, …; the first column should hold ids or symbols"
        )
    summed = table[best >= 0].groupby(best[best >= 0]).sum().T.groupby(level=0).sum().T
    return summed.reindex(range(len(space))).T


def _refuse_other_than_counts(path: Path, table: pd.DataFrame) -> None:
    kinds = [dtype.kind for dtype in table.dtypes]
    if not kinds or not set(kinds) <= set("iuf"):
        raise CorpusError(f"{path}: every column but the first should hold the counts of a label, as numbers")
    values = table.to_numpy(np.float64)
    for bad, what in (
        (~np.isfinite(values), "missing or infinite"),
        (values < 0, "negative"),
        (values != np.floor(values), "fractional"),
    ):
        if bad.any():
            gene, label = np.argwhere(bad)[0]
            raise CorpusError(
                f"{path}: raw bulk counts are needed, but {bad.sum():,} numbers are {what} ({values[gene, label]:g} of "
                f"{table.index[gene]} in {table.columns[label]!r}); give counts as they were summed"
            )


class CellMoments(NamedTuple):
    """Moments of single cells' counts, by group: mean, variance (n - 1 in the denominator) and largest."""

    n_R: NDArray[np.int64]
    mean_RG: NDArray[np.float64]
    variance_RG: NDArray[np.float64]
    largest_RG: NDArray[np.float64]


def cell_moments(cells: Corpus, group_N: NDArray[np.int64], n_groups: int) -> CellMoments:
    """Stream through cells for each group's moments; a cell that is used several times counts as so many.

    Parameters
    ----------
    cells
        N cells.
    group_N
        Each cell's group.
    n_groups
        R.
    """
    times_N = cells.cells["times"].to_numpy(np.float64)
    n_R = np.bincount(group_N, weights=times_N, minlength=n_groups)
    shape = (n_groups, cells.n_genes)
    total_RG, square_RG, largest_RG = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for rows, counts_BG in cells.blocks():
        n = counts_BG.shape[0]
        member_RB = csr_matrix((times_N[rows], (group_N[rows], np.arange(n))), shape=(n_groups, n))
        total_RG += (member_RB @ counts_BG).toarray()
        square_RG += (member_RB @ counts_BG.astype(np.float64).power(2)).toarray()
        row_nz = np.repeat(group_N[rows], np.diff(counts_BG.indptr))
        np.maximum.at(largest_RG, (row_nz, counts_BG.indices), counts_BG.data)
    mean_RG = total_RG / np.maximum(n_R, 1)[:, None]
    spread_RG = square_RG - n_R[:, None] * mean_RG**2
    variance_RG = np.maximum(spread_RG, 0) / np.maximum(n_R - 1, 1)[:, None]
    return CellMoments(n_R.astype(np.int64), mean_RG, variance_RG, largest_RG)
