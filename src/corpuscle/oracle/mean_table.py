"""Mean table: what papers and portals publish of a data set, the mean expression of each gene in groups of its cells.

Axes in names: G genes of the table, R groups of cells.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import InputError
from corpuscle.core.text import plural, shortened
from corpuscle.corpus.expression.variable_genes import TARGET_SUM
from corpuscle.mixture.reading import SUFFIXES, read_table
from corpuscle.source.gene_names import GeneNames, gene_names

# The row that has numbers of cells in place of means.
N_CELLS = "n_cells"
WHAT = "mean expression, a gene a row and a group of cells a column"
# Means of counts per 10,000 cannot sum to more; published ones are rounded.
MOST_SUM = 1.01 * TARGET_SUM
# A table of linear means has a gene above this: a few hundredths of all counts are of one gene. No logarithm of counts
# per million is above it.
LARGEST_LOG = float(np.log2(1e6 + 1))


def is_mean_table(path: Path | str) -> bool:
    """Return whether a candidate's file is a table of means, by how its name ends."""
    return Path(path).suffix in SUFFIXES


@dataclass(frozen=True, eq=False)
class MeanTable:
    """Mean counts per 10,000 of groups of cells.

    Attributes
    ----------
    names
        The genes' names.
    groups
        The groups' names.
    mean_GR
        Means of counts per 10,000: linear, from 0 on.
    n_R
        How many cells each group has; None where the table does not say.
    """

    names: GeneNames
    groups: tuple[str, ...]
    mean_GR: NDArray[np.float64]
    n_R: NDArray[np.float64] | None

    @staticmethod
    def read(path: Path | str) -> "MeanTable":
        r"""Read a table of means.

        Parameters
        ----------
        path
            A .csv, .tsv or .parquet file with a gene a row and a group of cells a column: cell types, clusters, or all
            cells as one. Genes are named by symbol or Ensembl id in any column of texts; a row that is called
            ``n_cells`` there says how many cells each group has.

        Raises
        ------
        InputError
            When it cannot be read, names no gene, or its numbers are no means of counts per 10,000.

        Examples
        --------
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "means.csv"
        >>> _ = path.write_text("gene,B,T\nn_cells,100,300\nLYZ,0.4,0.5\nMALAT1,310,295\n")
        >>> found = MeanTable.read(path)
        >>> found.groups, found.n_R.tolist(), found.names.symbols.tolist()
        (('B', 'T'), [100.0, 300.0], ['LYZ', 'MALAT1'])
        """
        table = read_table(path, WHAT, unnamed="gene")
        texts, numbers = _parted(path, table)
        counted = texts.iloc[:, 0].astype(str).str.strip().str.casefold().eq(N_CELLS).to_numpy()
        if counted.sum() > 1:
            raise InputError(f"{path}: expected one row {N_CELLS}; got {counted.sum()}")
        genes = texts[~counted]
        names = gene_names(genes.set_index(genes.columns[0]))
        mean_GR = numbers[~counted]
        groups = tuple(map(str, table.columns.difference(texts.columns, sort=False)))
        _check_means(path, genes.iloc[:, 0].astype(str).tolist(), groups, mean_GR)
        n_R = None if not counted.any() else _cells(path, groups, numbers[counted][0])
        return MeanTable(names, groups, mean_GR, n_R)


def _parted(path: Path | str, table: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Part a table into columns of texts, which name genes, and its numbers."""
    table = table.rename(columns=str)
    if not table.columns.is_unique:
        raise InputError(f"{path}: there are two columns {table.columns[table.columns.duplicated()][0]!r}; rename one")
    texts, numbers = [], []
    for name, column in table.items():
        found: pd.Series[Any] = pd.to_numeric(column, errors="coerce")
        wrong = (found.isna() & column.notna()).to_numpy()
        if pd.api.types.is_numeric_dtype(column.dtype) and column.dtype.kind in "iuf":
            numbers.append(found.to_numpy(np.float64))
        elif wrong.mean() >= 0.5 if len(wrong) else True:
            texts.append(name)
        else:
            row = int(np.flatnonzero(wrong)[0]) if wrong.any() else 0
            raise InputError(
                f"{path}, row {row + 1}: {name} is {shortened(repr(column.iloc[row]), 60)}; expected a number"
            )
    if not texts or not numbers or not len(table):
        got = f"{plural(len(texts), 'column')} of texts, {len(numbers)} of numbers and {plural(len(table), 'row')}"
        raise InputError(
            f"{path}: expected {WHAT}: a column of symbols or Ensembl ids, one or more of numbers, and a row for each "
            f"gene; got {got}"
        )
    return table[texts], np.column_stack(numbers)


def _check_means(path: Path | str, genes: list[str], groups: tuple[str, ...], mean_GR: NDArray[np.float64]) -> None:
    """Refuse what is no mean of counts per 10,000."""
    expected = "expected means of counts per 10,000 over a group's cells, linear and from 0 on"
    for bad_GR, advice in (
        (~np.isfinite(mean_GR), "write 0 for a gene without counts, or leave out the row of one that was not measured"),
        (mean_GR < 0, "scaled values and logarithms of ratios cannot be used"),
    ):
        if bad_GR.any():
            gene, group = np.argwhere(bad_GR)[0]
            raise InputError(
                f"{path}: {shortened(genes[gene])} in {shortened(groups[group])} is {mean_GR[gene, group]:g}; "
                f"{expected}; {advice}"
            )
    sum_R = mean_GR.sum(axis=0)
    if (sum_R > MOST_SUM).any():
        at = int(sum_R.argmax())
        raise InputError(
            f"{path}: {shortened(groups[at])} sums to {sum_R[at]:,.0f}; {expected}, which sum to 10,000 over all "
            "genes. Divide each group by its sum and multiply it by 10,000 (counts per million: divide by 100), and "
            "leave out columns that are no means"
        )
    if mean_GR.size == 0 or mean_GR.max() <= LARGEST_LOG:
        largest = mean_GR.max(initial=0)
        raise InputError(
            f"{path}: no mean is above {LARGEST_LOG:.1f} (the largest is {largest:g}), as in logarithms; {expected}. "
            "Give the mean of the counts per 10,000 themselves, and the most expressed genes, too"
        )
    if (sum_R == 0).any():
        raise InputError(f"{path}: all means of {shortened(groups[int(sum_R.argmin())])} are 0; {expected}")


def _cells(path: Path | str, groups: tuple[str, ...], n_R: NDArray[np.float64]) -> NDArray[np.float64]:
    wrong = ~(np.isfinite(n_R) & (n_R > 0) & (n_R == np.floor(n_R)))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{path}: {N_CELLS} of {shortened(groups[at])} is {n_R[at]:g}; expected a whole number of cells from 1 on"
        )
    return n_R
