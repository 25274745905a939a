"""Composition: how many cells of each label a corpus has; cells without a label are a group of their own."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import MeasureError


class Composition(NamedTuple):
    """Cells by label and group.

    Attributes
    ----------
    labels
        The L labels there are, sorted; ``""`` stands for no label.
    cells_L
        Cells of each label.
    cells_DL
        Cells of each label in each of D groups, such as donors; rows follow the groups' codes.
    """

    labels: list[str]
    cells_L: NDArray[np.int64]
    cells_DL: NDArray[np.int64]


def composition(
    label_N: NDArray[np.str_], times_N: NDArray[np.int64] | None = None, group_N: NDArray[np.int64] | None = None
) -> Composition:
    """Count cells by label, each as often as it is used.

    Parameters
    ----------
    label_N
        Each cell's label; ``""`` where it has none.
    times_N
        How often each cell counts; once by default.
    group_N
        Each cell's group, 0 … D - 1; all are in one by default.

    Raises
    ------
    MeasureError
        When there are no cells, or none has a label.

    Examples
    --------
    >>> composition(np.array(["T", "B", "T", ""])).cells_L.tolist()
    [1, 1, 2]
    """
    if not len(label_N):
        raise MeasureError("there are no cells")
    labels, code_N = np.unique(label_N, return_inverse=True)
    if labels.tolist() == [""]:
        raise MeasureError("no cell has this label")
    group_N = np.zeros(len(label_N), np.int64) if group_N is None else group_N
    cells_DL = np.zeros((int(group_N.max()) + 1, len(labels)), np.int64)
    np.add.at(cells_DL, (group_N, code_N), 1 if times_N is None else times_N)
    return Composition(labels.tolist(), cells_DL.sum(axis=0), cells_DL)
