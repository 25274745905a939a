"""Quality: which cells are good enough, and the count of those that are not, reason by reason.

A survey streams once through a source's counts. It refuses what is not raw counts, and notes per cell what the
filter, the leakage check and the report need.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.fingerprint import fingerprint
from corpuscle.source.count_kinds import refuse_other_than_counts
from corpuscle.source.genes import GeneSpace
from corpuscle.source.source import Source

SURVEY_CELLS = 8192
KEPT = "kept"


@component
class Quality:
    """Thresholds that a cell must pass; they are taken over all genes of its file, as the published studies do.

    Parameters
    ----------
    min_counts
        Fewest counts (UMIs) that a cell may have.
    min_genes
        Fewest genes with a count.
    max_mito_fraction
        Largest share of counts from mitochondrial genes; 1 switches it off.
    drop_duplicates
        Drop cells whose counts equal those of an earlier cell, of any source, in the genes that both files measured.
    near_duplicates
        What to do about training cells that copy an evaluation cell: ``"refuse"``, ``"drop"`` them, or ``"keep"``
        near-duplicates with a warning.
    """

    min_counts: Annotated[int, Field(ge=0)] = 0
    min_genes: Annotated[int, Field(ge=0)] = 0
    max_mito_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    drop_duplicates: bool = False
    near_duplicates: Literal["refuse", "drop", "keep"] = "refuse"

    def reasons(self, survey: pd.DataFrame) -> NDArray[np.str_]:
        """Return of each cell why it is dropped, or `KEPT`: the first reason that holds.

        Parameters
        ----------
        survey
            One row per cell; see `survey`.

        Examples
        --------
        >>> table = pd.DataFrame({"n_counts": [900, 90], "n_genes": [400, 50], "mito_fraction": [0.3, 0.0],
        ...                       "n_counts_in_space": [800, 80]})
        >>> Quality(min_counts=100, max_mito_fraction=0.2).reasons(table).tolist()
        ['mito_fraction above 0.2', 'fewer than 100 counts']
        """
        tests = {
            f"fewer than {self.min_counts} counts": survey["n_counts"] < self.min_counts,
            f"fewer than {self.min_genes} genes": survey["n_genes"] < self.min_genes,
            f"mito_fraction above {self.max_mito_fraction:g}": survey["mito_fraction"] > self.max_mito_fraction,
            "no counts in the study's genes": survey["n_counts_in_space"] == 0,
        }
        return np.select([test.to_numpy() for test in tests.values()], list(tests), default=KEPT)


def survey_key(source: Source, space: GeneSpace) -> str:
    """Fingerprint of all that a survey depends on."""
    columns = space.columns[source.name]
    return fingerprint("survey 2", source.reader.identity(), list(space.ids), columns,
                       source.cells["row"].to_numpy(), source.gene_names.mitochondrial)  # fmt: skip


def survey(source: Source, space: GeneSpace, progress: Callable[[float], None] | None = None) -> pd.DataFrame:
    """Stream through a source's counts once.

    Parameters
    ----------
    source
        What to look at; only the cells it offers are read.
    space
        The study's genes.
    progress
        Called now and then with which share is done.

    Returns
    -------
    One row per cell of the source, in its order: ``n_counts``, ``n_genes``, ``mito_fraction`` (over all genes of the
    file; NaN where it has no mitochondrial gene), and ``n_counts_in_space``.

    Raises
    ------
    SourceError
        When the values are not raw counts: negative, NaN, infinite, fractional (see `count_kinds`) or above 2^24.
    """
    mitochondrial = source.gene_names.mitochondrial
    rows = source.cells["row"].to_numpy(np.int64)
    tables = []
    for start in range(0, len(rows), SURVEY_CELLS):
        block = rows[start : start + SURVEY_CELLS]
        stored = source.reader.read_stored(block)
        refuse_other_than_counts(source, stored, block)
        counts = source.reader.counted(stored)
        tables.append(_survey_block(counts, space.project(counts, source.name), mitochondrial))
        if progress:
            progress(min(1.0, (start + SURVEY_CELLS) / len(rows)))
    return pd.concat(tables, ignore_index=True)


def _survey_block(counts: csr_matrix, in_space: csr_matrix, mitochondrial: NDArray[np.bool_]) -> pd.DataFrame:
    totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    if mitochondrial.any():
        mito = np.asarray(counts[:, np.flatnonzero(mitochondrial)].sum(axis=1, dtype=np.float64)).ravel()
        fraction = np.divide(mito, totals, out=np.zeros_like(totals), where=totals > 0)
    else:
        fraction = np.full(len(totals), np.nan)
    return pd.DataFrame(
        {
            "n_counts": totals.astype(np.int64),
            "n_genes": np.diff(csr_matrix(counts > 0).indptr),
            "mito_fraction": fraction,
            "n_counts_in_space": np.asarray(in_space.sum(axis=1, dtype=np.float64)).ravel().astype(np.int64),
        }
    )
