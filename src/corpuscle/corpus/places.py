"""Places: number all cells of a study once, so that each corpus is looked up by whole numbers, not by names."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus


class Places:
    """Numbers of cells, by source and row.

    Parameters
    ----------
    cells
        All cells that corpora can be made of: an index of (source, row), none twice. A cell's number is its position.

    Examples
    --------
    >>> places = Places(pd.MultiIndex.from_tuples([("blood", 4), ("blood", 2), ("lung", 2)]))
    >>> places.find(np.array(["lung", "blood"], dtype=object), np.array([2, 4])).tolist()
    [2, 0]
    """

    def __init__(self, cells: pd.MultiIndex) -> None:
        codes, sources = pd.factorize(cells.get_level_values(0))
        row_N = cells.get_level_values(1).to_numpy(np.int64)
        self._of_source: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for at, source in enumerate(sources):
            number_n = np.flatnonzero(codes == at)
            order = np.argsort(row_N[number_n], kind="stable")
            self._of_source[str(source)] = row_N[number_n][order], number_n[order]

    def find(self, source_N: NDArray[np.object_], row_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each of N cells, shape (N,); all must have one."""
        codes, sources = pd.factorize(source_N)
        found = np.empty(len(row_N), np.int64)
        for at, source in enumerate(sources):
            here = slice(None) if len(sources) == 1 else codes == at
            rows, numbers = self._of_source[str(source)]
            position = np.minimum(np.searchsorted(rows, row_N[here]), len(rows) - 1)
            assert np.array_equal(rows[position], row_N[here]), "every cell that a source offers was surveyed"
            found[here] = numbers[position]
        return found

    def of(self, corpus: Corpus) -> NDArray[np.int64]:
        """Return the numbers of a corpus' cells, in its order; for made cells, of what they are made from, last."""
        in_files = corpus.cells[corpus.labels("made") == ""] if corpus.used_makers else corpus.cells
        own = self.find(in_files["source"].to_numpy(object), in_files["row"].to_numpy(np.int64))
        if not corpus.used_makers:
            return own
        return np.concatenate([own, *(self.of(derived.parents) for derived in corpus.used_makers.values())])
