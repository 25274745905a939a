"""The cells of a corpus whose type is known: what label models and fine-tuning learn from.

Axes in names: N cells.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus


class Labelled(NamedTuple):
    """Cells with a label.

    Attributes
    ----------
    cells
        N cells.
    labels
        The labels, sorted.
    code_N
        The position of each cell's label in `labels`.
    times_N
        How often each cell counts in training.
    n_unlabelled
        How many cells had no label and were left out.
    """

    cells: Corpus
    labels: tuple[str, ...]
    code_N: NDArray[np.int64]
    times_N: NDArray[np.int64]
    n_unlabelled: int


def labelled(corpus: Corpus, label_N: NDArray[np.str_]) -> Labelled:
    """Keep the cells that have a label.

    Parameters
    ----------
    corpus
        The corpus.
    label_N
        The label of each cell of its table; ``""`` for none.

    Raises
    ------
    ModelError
        When there are not two labels.
    """
    found = [str(label) for label in np.unique(label_N) if label != ""]
    if len(found) < 2:
        why = f"all labelled cells are {found[0]!r}" if found else "none of its cells has a label"
        raise ModelError(
            f"a label model needs cells of at least two types, and of corpus {corpus.name!r} {why}; "
            "say under [sources] which column has the cell types, or draw other cells"
        )
    has_label_N = label_N != ""
    kept = corpus.take(has_label_N)
    code_N, times_N = np.searchsorted(found, label_N[has_label_N]), kept.cells["times"].to_numpy(np.int64)
    return Labelled(kept, tuple(found), code_N, times_N, int((~has_label_N).sum()))


def cell_types(corpus: Corpus) -> Labelled:
    """Keep the cells of a corpus that have a cell type."""
    return labelled(corpus, corpus.labels("cell_type"))
