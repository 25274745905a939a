"""Groups: the cells of given or random types in given or random batches, for alterations that take some away.

The design of Maan et al. 2024 (Nature Biotechnology, doi 10.1038/s41587-023-02097-9): one type in one of two batches,
cut to a tenth or removed, many times over. Axes in names: N cells.
"""

from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from corpuscle.core.components import component, legal_names
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.alteration import Alteration, label_or_refuse, matching, times_used
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.named_labels import NamedLabels, named_labels


def _choice(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    is_list = isinstance(value, list) and value and all(isinstance(name, str) for name in value)
    if value is None or is_number or is_list:
        return value
    raise ValueError("should be a number of labels to choose at random, or a list of labels, such as ['B', 'T']")


# How many labels to choose at random, or which.
Choice = Annotated[int | list[str] | None, BeforeValidator(_choice)]


@component
class GroupAlteration(Alteration):
    """An alteration of the cells of some types in some batches.

    Parameters
    ----------
    types
        Which types: labels, or how many to choose at random, the same in each batch. None: all cells.
    batches
        In which batches: labels, or how many to choose at random. None: in the whole corpus.
    where
        Only cells that match this filter are meant.
    by
        The column of the types.
    batch
        The column of the batches; ``"donor"``, ``"study"`` or ``"source"`` will do as well.
    """

    types: Choice = None
    batches: Choice = None
    where: str | None = None
    by: str = "cell_type"
    batch: str = "batch"

    @property
    def names_labels(self) -> tuple[NamedLabels, ...]:
        """Types and batches, where they are given by name."""
        return (
            *named_labels("types", self.by, self.types),
            *named_labels("batches", self.batch, self.batches),
        )


class Patch(NamedTuple):
    """Cells of one type in one batch (None: of any): where they are, shape (N,), and how many uses they have."""

    batch: str | None
    type: str | None
    mask_N: NDArray[np.bool_]
    n_cells: int


def patches(corpus: Corpus, rng: np.random.Generator, step: GroupAlteration) -> list[Patch]:
    """Choose the types and batches, and find their cells.

    Random batches are chosen first, among those that have all types asked for; random types among those that every
    chosen batch has. (The published code takes them from the union: it can choose a type that a batch lacks, where
    nothing then happens.) Each is the first in an order of all labels that the seed alone draws: one type of one batch
    is also the first of two batches, so that such corpora can be compared by seed.

    Raises
    ------
    CorpusError
        When a label is not there, a type is not in a batch, or there are fewer labels than are to be chosen.
    """
    inside_N, times_N = matching(corpus, step.where, step), times_used(corpus)
    batch_N = label_or_refuse(corpus, step.batch, step) if step.batches is not None else None
    type_N = label_or_refuse(corpus, step.by, step) if step.types is not None else None
    order_batches, order_types = (_order(label_N, rng) for label_N in (batch_N, type_N))
    batches: list[str | None] = [None]
    if batch_N is not None:
        known = _known(batch_N[inside_N])
        if isinstance(step.types, list) and type_N is not None:
            _refuse_unknown(step.types, _known(type_N[inside_N]), step.by, step)
            if isinstance(step.batches, int):
                wanted = set(step.types)
                known = [name for name in known if wanted <= set(type_N[inside_N & (batch_N == name)])]
        batches = [*_chosen(step.batches, known, step.batch, order_batches, step)]
    here_N = {name: inside_N & (batch_N == name) if batch_N is not None else inside_N for name in batches}
    types: list[str | None] = [None]
    if type_N is not None:
        known = _known(type_N[inside_N])
        if isinstance(step.types, int):
            known = sorted(set.intersection(*(set(_known(type_N[mask_N])) for mask_N in here_N.values())))
        types = [*_chosen(step.types, known, step.by, order_types, step)]
    return [
        _patch(name, label, mask_N & (type_N == label) if type_N is not None else mask_N, times_N, step)
        for name, mask_N in here_N.items()
        for label in types
    ]


def _patch(
    batch: str | None, label: str | None, mask_N: NDArray[np.bool_], times_N: NDArray[np.int64], step: Alteration
) -> Patch:
    if not mask_N.any():
        raise CorpusError(
            f"{step.name}: there is no cell of {label!r} in batch {batch!r}, so nothing would be changed there; name "
            "types and batches that occur together"
        )
    return Patch(batch, label, mask_N, int(times_N[mask_N].sum()))


def _order(label_N: NDArray[np.str_] | None, rng: np.random.Generator) -> list[str]:
    """Return all labels of the corpus in a random order; nothing is drawn where there are none to choose from."""
    return [] if label_N is None else rng.permutation(np.array(_known(label_N), dtype=object)).tolist()


def _known(label_N: NDArray[np.str_]) -> list[str]:
    return [label for label in np.unique(label_N).tolist() if label]


def _chosen(
    wanted: int | list[str] | None, known: list[str], column: str, order: list[str], step: Alteration
) -> list[str]:
    if isinstance(wanted, int):
        if wanted > len(known):
            raise CorpusError(
                f"{step.name}: {wanted} of {column} are to be chosen at random, but only {len(known)} can be: "
                f"{', '.join(known) or 'none'}"
            )
        return sorted([label for label in order if label in known][:wanted])
    assert wanted is not None, "asked only where there is something to choose"
    _refuse_unknown(wanted, known, column, step)
    return list(dict.fromkeys(wanted))


def _refuse_unknown(wanted: list[str], known: list[str], column: str, step: Alteration) -> None:
    for label in wanted:
        if label not in known:
            raise CorpusError(
                f"{step.name}: the corpus has no cell of {column} {label!r} to change; {legal_names(label, known)}"
            )


def account_of(found: list[Patch], left: list[int], column: str) -> dict[str, Any]:
    """Return, for each batch and type, how many cells there were and are."""
    return {
        "by": column,
        "touched": [
            {"batch": patch.batch, column: patch.type, "n_cells": n, "from": patch.n_cells}
            for patch, n in zip(found, left, strict=True)
        ],
    }
