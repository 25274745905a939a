"""Alteration: changes a corpus that was drawn: which cells it has, how often, their labels or their counts."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import Component, guarded, legal_names
from corpuscle.core.errors import CorpusError, ModelError
from corpuscle.corpus.changed_groups import CHANGED, changed_groups
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import KEYS, Corpus
from corpuscle.corpus.named_labels import NamedLabels
from corpuscle.source import cell_filter as where_expression

# A step fills a label up to at most so many cells, and makes at most ten times as many in all: each is a row of the
# corpus' table, of some 100 bytes.
MOST_MADE = 10_000_000


def refuse_to_make(n_cells: int, step: "Alteration") -> None:
    """Refuse to make more cells than a table can hold, before it is laid out.

    Raises
    ------
    CorpusError
        When there would be more than ten times `MOST_MADE`.
    """
    if n_cells > 10 * MOST_MADE:
        raise CorpusError(f"{step.name}: would make {n_cells:,} cells, and can make {10 * MOST_MADE:,}; ask for fewer")


class Altered(NamedTuple):
    """What an alteration returns: the corpus, and plain data that say what was done to which cells, and how many."""

    corpus: Corpus
    account: Mapping[str, Any]


class Alteration(Component, ABC):
    """A step that changes a training corpus. Each is one file in ``corpus/alterations``.

    A step that only chooses changes `Corpus.cells`; one that changes or makes counts leaves a
    `corpuscle.corpus.derived.Derived`, which makes them when they are asked for.
    """

    home: ClassVar[str] = "corpuscle.corpus.alterations"
    kind: ClassVar[str] = "alteration"

    @property
    def needs(self) -> tuple[str, Mapping[str, Any]] | None:
        """Name and settings of the model that it needs, if it needs one: it is checked when the study is read."""
        return None

    @property
    def names_labels(self) -> tuple[NamedLabels, ...]:
        """The labels that its settings name: a study checks that they are called so."""
        return ()

    @abstractmethod
    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Change a corpus.

        Parameters
        ----------
        corpus
            Training cells. A cell that is used several times (`times`) counts as so many.
        rng
            The only source of randomness.
        context
            What the study gives.

        Raises
        ------
        CorpusError
            When the corpus cannot be changed so, or nothing would change.
        """

    def __str__(self) -> str:
        settings = [f"{key} = {value}" for key, value in self.spec().items() if key != "name" and value is not None]
        return f"{self.name} ({', '.join(settings)})" if settings else self.name


def altered(step: Alteration, corpus: Corpus, rng: np.random.Generator, context: Context) -> Corpus:
    """Apply a step and add its account to the corpus'; refuse what one from elsewhere may get wrong.

    Raises
    ------
    CorpusError
        When the step says so, left no cell, changed nothing, or has cells that were not in the corpus.
    """
    try:
        with guarded(step):
            found = step.apply(corpus, rng, context)
    except ModelError as error:
        raise CorpusError(f"{step.name}: {error}") from error
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Corpus)):
        raise CorpusError(f"{step.name}: apply returned a {type(found).__name__}, not an Altered; fix the alteration")
    after, account = found
    if not len(after):
        raise CorpusError(f"{step.name}: no cell would be left of {corpus.n_cells:,}")
    if after.fingerprint == corpus.fingerprint:
        raise CorpusError(f"{step.name}: nothing would change; fix the step, or leave it out")
    if foreign := _n_foreign(after, corpus):
        raise CorpusError(
            f"{step.name}: {foreign:,} cells were not in the corpus that it was to alter; fix the alteration"
        )
    record = {
        "step": step.spec(),
        "version": step.code_version,
        "n_cells": after.n_cells,
        "from": corpus.n_cells,
        **account,
        CHANGED: changed_groups(corpus, after)._asdict(),
    }
    json.dumps(record, allow_nan=False)
    return replace(after, name=corpus.name, account=(*corpus.account, record))


def _n_foreign(after: Corpus, before: Corpus) -> int:
    """Count the cells of files that were not there before."""
    found = 0
    for source in after.sources:
        rows = [
            cells.cells["row"][((cells.cells["source"] == source) & (cells.labels("made") == "")).to_numpy()].to_numpy()
            for cells in (after, before)
        ]
        found += int(np.sum(~np.isin(*rows)))
    return found


def matching(corpus: Corpus, where: str | None, step: Alteration) -> NDArray[np.bool_]:
    """Return which cells match a filter, shape (N,); all, where there is none.

    Raises
    ------
    CorpusError
        When no cell matches.
    """
    if where is None:
        return np.ones(len(corpus), bool)
    mask = where_expression.matches(where, corpus.cells)
    if not mask.any():
        raise CorpusError(f'{step.name}: where "{where}" matches none of the corpus\' {len(corpus):,} cells')
    return mask


def label_or_refuse(corpus: Corpus, column: str, step: Alteration) -> NDArray[np.str_]:
    """Return a label of each cell, ``""`` where it has none, shape (N,).

    Raises
    ------
    CorpusError
        When the corpus has no such label.
    """
    if column not in corpus.cells:
        hint = legal_names(column, (str(name) for name in corpus.cells if name not in KEYS[1:]))
        raise CorpusError(f"{step.name}: there is no column {column!r} in {', '.join(corpus.sources)}; {hint}")
    return corpus.labels(column)


def batch_labels(corpus: Corpus, column: str, step: Alteration) -> NDArray[np.str_]:
    """Return the batch of each cell, shape (N,); ``""`` for all of a corpus without the column ``batch``.

    Raises
    ------
    CorpusError
        When another column was asked for, and is not there.
    """
    return corpus.labels(column) if column == "batch" else label_or_refuse(corpus, column, step)


def times_used(corpus: Corpus) -> NDArray[np.int64]:
    """Return how often each cell is used, shape (N,)."""
    times_N: NDArray[np.int64] = corpus.cells["times"].to_numpy(np.int64)
    return times_N


def with_uses(corpus: Corpus, times_N: NDArray[np.int64]) -> Corpus:
    """Return the corpus with each cell used so often; those used no more are gone."""
    kept = times_N > 0
    cells = corpus.cells[kept].assign(times=times_N[kept]).reset_index(drop=True)
    return replace(corpus, cells=cells)


def drawn_uses(times_N: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw n of the uses of cells, none twice; return how often each cell is drawn, shape (N,)."""
    drawn_N: NDArray[np.int64] = rng.multivariate_hypergeometric(times_N, n, method="marginals").astype(np.int64)
    return drawn_N


def counted(times_N: NDArray[np.int64], label_N: NDArray[np.str_]) -> dict[str, int]:
    """Count uses of cells by label, sorted by label; ``""`` is no label."""
    labels, code_N = np.unique(label_N, return_inverse=True)
    sums = np.bincount(code_N, weights=times_N, minlength=len(labels)).astype(np.int64)
    return dict(zip(labels.tolist(), sums.tolist(), strict=True))
