"""Repeats: files that are read as one source and hold the same cells, such as raw and filtered counts of a library."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import SourceError
from corpuscle.source.source import Source

# Cells of two files that are compared; of raw counts, most barcodes are empty droplets.
_COMPARED = 4096
# A cell with so many detected genes is no other one's equal by chance; so few of them are a handful, no copied file.
_RICH_GENES = 5
_FEW_CELLS = 3
_SHARE_OF_RICH = 0.1
_SHARE_OF_ANY = 0.5


def refuse_repeats(source: Source) -> None:
    """Refuse a source of many files of which two hold the same cells: the same barcodes with the same counts.

    Barcodes alone are no proof: 10x Genomics' recur between samples. Files without a barcode in common are not read.

    Raises
    ------
    SourceError
        Naming the two files.
    """
    members = source.reader.members()
    if len(members) < 2:
        return
    ends = np.cumsum([n for _, n in members])
    row_N = source.cells["row"].to_numpy(np.int64)
    table = pd.DataFrame({"member": np.searchsorted(ends, row_N, side="right"), "row": row_N})
    table["barcode"] = source.cells["barcode"].astype(str).to_numpy()
    table = table[table.duplicated("barcode", keep=False)].drop_duplicates(["barcode", "member"])
    if table["member"].nunique() < 2:
        return
    both = table.merge(table, on="barcode", suffixes=("", "_2"))
    both = both[both["member"] < both["member_2"]]
    for (one, two), pairs in both.groupby(["member", "member_2"]):
        chosen = pairs.iloc[np.unique(np.linspace(0, len(pairs) - 1, _COMPARED).astype(np.int64))]
        n_equal = _n_equal(source, chosen["row"].to_numpy(), chosen["row_2"].to_numpy())
        if n_equal:
            shown = " and ".join(repr(members[at][0]) for at in (one, two))
            raise SourceError(
                f"the files {shown} of source {source.name!r} hold the same cells: {len(pairs):,} barcodes are in "
                f"both, and {n_equal:,} of the {len(chosen):,} compared have the same counts; they would be "
                "counted twice; name one of the files as the path, or list those to read"
            )


def _n_equal(source: Source, one_P: NDArray[np.int64], two_P: NDArray[np.int64]) -> int:
    """Count the pairs of rows with equal counts; 0 where they are not more than chance or a handful."""
    one, two = source.reader.read_counts(one_P).tocsr(), source.reader.read_counts(two_P).tocsr()
    n_genes = np.minimum(*(np.asarray((counts != 0).sum(axis=1)).ravel() for counts in (one, two)))
    equal = np.asarray((one != two).sum(axis=1)).ravel() == 0
    rich, any_at_all = n_genes >= _RICH_GENES, n_genes > 0
    n_rich, n_any = int((equal & rich).sum()), int((equal & any_at_all).sum())
    if n_rich >= max(min(_FEW_CELLS, int(rich.sum())), _SHARE_OF_RICH * rich.sum(), 1):
        return n_any
    return n_any if n_any >= max(_FEW_CELLS, _SHARE_OF_ANY * any_at_all.sum()) else 0
