"""The cells of a corpus whose type is known: what label models and fine-tuning learn from.

Axes in names: N cells.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.expression import uses


class Labelled(NamedTuple):
    """Cells with a label.

    Attributes
    ----------
    cells
        N cells; one that counts several times in training stands as often.
    labels
        The labels, sorted.
    code_N
        The position of each cell's label in `labels`.
    n_unlabelled
        How many cells had no label and were left out.
    """

    cells: Corpus
    labels: tuple[str, ...]
    code_N: NDArray[np.int64]
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
    used_N = np.repeat(label_N[has_label_N], kept.cells["times"].to_numpy(np.int64))
    return Labelled(uses(kept), tuple(found), np.searchsorted(found, used_N), int((~has_label_N).sum()))


def cell_types(corpus: Corpus) -> Labelled:
    """Keep the cells of a corpus that have a cell type."""
    return labelled(corpus, corpus.labels("cell_type"))
