"""Changed groups: of which types, in which batches, a step changed the number of cells; counted, whatever it says."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from corpuscle.corpus.corpus import Corpus
from corpuscle.source.labels import as_labels

# What a record of an account calls it.
CHANGED = "changed_groups"


class ChangedGroups(NamedTuple):
    """The types and the batches of the groups (one type in one batch) that have more or fewer cells, sorted."""

    types: list[str]
    batches: list[str]


def changed_groups(before: Corpus, after: Corpus) -> ChangedGroups:
    """Count the cells of each type in each batch, as often as they are used, and return where the numbers differ.

    A type is a value of ``cell_type`` and a batch one of ``batch``, whatever label a step looked at. Cells without one
    are counted as well, and have no name to return.

    Examples
    --------
    >>> import pandas as pd
    >>> from corpuscle.source.genes import GeneSpace
    >>> columns = {"source": "s", "row": range(3), "barcode": ["a", "b", "c"], "times": 1}
    >>> cells = pd.DataFrame({**columns, "cell_type": ["B", "T", "T"], "batch": ["1", "1", "2"]})
    >>> corpus = Corpus("blood", cells, {}, GeneSpace(("G",), ("G",), {}))
    >>> changed_groups(corpus, corpus.take(np.array([0, 1])))
    ChangedGroups(types=['T'], batches=['2'])
    """
    sizes, others = _sizes(before), _sizes(after)
    changed = [group for group in {**sizes, **others} if sizes.get(group, 0) != others.get(group, 0)]
    types, batches = (sorted({group[at] for group in changed} - {""}) for at in range(2))
    return ChangedGroups(types, batches)


def changed_in(account: Iterable[Mapping[str, Any]]) -> ChangedGroups:
    """Return what any step of an account changed."""
    records = [record[CHANGED] for record in account if CHANGED in record]
    types, batches = (sorted({label for record in records for label in record[name]}) for name in ChangedGroups._fields)
    return ChangedGroups(types, batches)


def _sizes(corpus: Corpus) -> dict[tuple[str, str], int]:
    """Count uses by type and batch; ``""`` is no label."""
    codes, names = [], []
    for column in ("cell_type", "batch"):
        label_N = as_labels(corpus.cells[column]).cat if column in corpus.cells else None
        known = [] if label_N is None else label_N.categories.tolist()
        # What has no label has the code -1: the last of these.
        codes.append(np.full(len(corpus), -1) if label_N is None else label_N.codes.to_numpy(np.int64))
        names.append([*known, ""])
    n_types, n_batches = map(len, names)
    at_N = (codes[0] % n_types) * n_batches + codes[1] % n_batches
    sizes = np.bincount(at_N, corpus.cells["times"].to_numpy(np.int64), minlength=n_types * n_batches)
    return {(names[0][at // n_batches], names[1][at % n_batches]): int(sizes[at]) for at in np.flatnonzero(sizes)}
