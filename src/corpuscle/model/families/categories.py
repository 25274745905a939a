"""Categories: a label whose value a network is given for each cell, such as its batch.

Axes in names: N cells.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import ModelError
from corpuscle.core.text import shortened
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.data.batches import Rows


class Categories:
    """The values of a label that a network is given, and how a cell's is written: 1 for its own, 0 for the others.

    A value that was not in training is written as their shares in training: the network's answer is then between
    those for the values it knows.

    Attributes
    ----------
    label
        Which label.
    values
        Its values in the training corpus, sorted; ``""`` for cells without one.
    shares
        Their shares of the training corpus.

    Examples
    --------
    >>> categories = Categories("batch", ["a", "b"], [0.25, 0.75])
    >>> categories.table[categories.codes(np.array(["b", "z"]))]
    array([[0.  , 1.  ],
           [0.25, 0.75]], dtype=float32)
    """

    def __init__(self, label: str, values: Sequence[str], shares: Sequence[float]) -> None:
        self.label, self.values, self.shares = label, list(values), list(shares)
        if not self.values or len(self.values) != len(self.shares):
            raise ValueError(f"{len(self.values)} values have {len(self.shares)} shares")

    @classmethod
    def of(cls, corpus: Corpus, label: str) -> Self:
        """Take them from a training corpus.

        Raises
        ------
        ModelError
            When the corpus does not have the label.
        """
        if label not in corpus.cells:
            raise ModelError(f"corpus {corpus.name!r} has no column {label!r}, which the model is to be given; "
                             "name the column in [sources], or leave the covariate out")  # fmt: skip
        values, codes = np.unique(corpus.labels(label), return_inverse=True)
        n_cells = np.bincount(codes, weights=corpus.cells["times"])
        return cls(label, values.tolist(), (n_cells / n_cells.sum()).tolist())

    def __len__(self) -> int:
        """Count the values."""
        return len(self.values)

    @property
    def table(self) -> NDArray[np.float32]:
        """What is written for each value, and in the last row for others; shape (n values + 1, n values)."""
        return np.vstack([np.eye(len(self)), self.shares]).astype(np.float32)

    def codes(self, label_N: NDArray[np.str_]) -> NDArray[np.int64]:
        """Return each cell's row of `table`."""
        place = {value: row for row, value in enumerate(self.values)}
        values, inverse = np.unique(label_N, return_inverse=True)
        rows = np.array([place.get(value, len(self)) for value in values.tolist()], np.int64)
        return rows[inverse]

    def rows(self, cells: Corpus) -> Rows:
        """Return what batches of some cells have."""
        return Rows(self.table, self.codes(cells.labels(self.label)))

    def spec(self) -> dict[str, Any]:
        """Return what makes the same again."""
        return {"label": self.label, "values": self.values, "shares": self.shares}

    def known_rows(self, cells: Corpus) -> Rows:
        """Return each cell's value, refusing such as were not in training.

        Raises
        ------
        ModelError
            When a cell has another value, or none.
        """
        if self.label not in cells.cells:
            raise ModelError(f"corpus {cells.name!r} has no column {self.label!r}, which the model needs of each cell")
        rows = self.rows(cells)
        is_new_N = rows.row_N == len(self)
        if is_new_N.any():
            new = shortened(", ".join(np.unique(cells.labels(self.label)[is_new_N])))
            n_new = f"{int(is_new_N.sum()):,} of {len(cells):,}"
            raise ModelError(
                f"corpus {cells.name!r}: {n_new} cells are of a {self.label} that the model was not trained on "
                f"({new}): it has no statistics of them; train it on these batches, or leave them out"
            )
        return rows
