"""Impute rare: fill rare labels up with cells that a model makes from their own cells."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix, vstack

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.randomness import drawn_key, row_generators
from corpuscle.corpus.alteration import MOST_MADE, Alteration, Altered, counted, label_or_refuse, times_used
from corpuscle.corpus.context import Context, ImputedCounts, Imputer
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.count_file import read_counts, write_counts
from corpuscle.corpus.derived import MADE_CELLS, Derived, from_rows, picked, with_made


@component
class ImputeRare(Alteration):
    """Fill labels of few cells up with cells that a model makes, trained on the cells of these labels alone.

    By default each new cell is a fresh draw: a cell of the label is encoded, a sample of its posterior decoded, and
    counts drawn from a negative binomial around what the model expects at that cell's total; dispersions are those of
    the training cells around their own expectations, by moments. ``published = true`` repeats the published remedy: the
    expectations themselves (denoised, no whole numbers) of those same cells, each once a round, with a model trained
    anew each round, until the labels are full. There they sum to one; here to their cell's total, so that they can
    stand next to counts (rank encodings see no difference).

    The model is trained when the plan stands, and what it made is kept in the store.

    Parameters
    ----------
    threshold
        Labels with at most this many cells train the model; those with fewer are filled up to it.
    by
        The label column.
    published
        Whether to do as published.
    model
        The model: any that reconstructs.
    settings
        Its parameters, such as ``{ n_latent = 20 }``.

    Examples
    --------
    >>> str(ImputeRare(threshold=100))
    'impute_rare (threshold = 100, by = cell_type, published = False, model = scvi)'
    """

    threshold: Annotated[int, Field(gt=1, le=MOST_MADE)]
    by: str = "cell_type"
    published: bool = False
    model: str = "scvi"
    settings: dict[str, Any] | None = None

    @property
    def needs(self) -> tuple[str, Mapping[str, Any]]:
        """The model."""
        return self.model, self.settings or {}

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Choose which cells new ones are made from; see `Alteration.apply`."""
        label_N = label_or_refuse(corpus, self.by, self)
        before = counted(times_used(corpus), label_N)
        rare = self._rare(before)
        if not corpus.is_whole:
            raise CorpusError("impute_rare: a step before made cells whose counts are no whole numbers; impute first")
        parents = corpus.take(np.isin(label_N, list(rare)))
        rounds = [*(_published if self.published else _fresh)(parents.labels(self.by), rare, self.threshold, rng)]
        derived = _Imputed(
            parents,
            rounds,
            self.needs,
            version=self.code_version,
            key=drawn_key(rng),
            published=self.published,
            context=context,
        )
        base = np.concatenate([one.base for one in rounds])
        made = with_made(corpus, derived, "impute_rare", parents.cells.iloc[base])
        after = counted(times_used(made), made.labels(self.by))
        touched = [{self.by: label, "from": n, "made": self.threshold - n} for label, n in rare.items()]
        account = {"by": self.by, "before": before, "after": after, "touched": touched, "trainings": len(rounds)}
        return Altered(made, {**account, "model": derived.imputer.spec()})

    def _rare(self, before: dict[str, int]) -> dict[str, int]:
        """Return the labels at or below the threshold; refuse one that all or none are below."""
        labelled = {label: n for label, n in before.items() if label}
        largest = max(labelled.values(), default=0)
        if self.threshold > largest:
            raise CorpusError(
                f"impute_rare: threshold is {self.threshold:,}, above the largest {self.by}, which has {largest:,} "
                "cells: none would be a common one; lower it"
            )
        rare = {label: n for label, n in labelled.items() if n <= self.threshold}
        if all(n == self.threshold for n in rare.values()):
            smallest = min(labelled.values())
            raise CorpusError(
                f"impute_rare: no {self.by} has fewer than {self.threshold:,} cells (the smallest has {smallest:,}): "
                "none would be filled up; raise threshold, or leave the step out"
            )
        return rare


class _Round(NamedTuple):
    """One training: on which parents, with which seed, and of which parents new cells are made."""

    train: NDArray[np.int64]
    base: NDArray[np.int64]
    seed: int


def _fresh(
    label_P: NDArray[np.str_], rare: dict[str, int], threshold: int, rng: np.random.Generator
) -> Iterator[_Round]:
    """Train once; cells of a label take turns."""
    base = []
    for label, n in rare.items():
        own = rng.permutation(np.flatnonzero(label_P == label))
        base.append(np.resize(own, threshold - n))
    yield _Round(np.arange(len(label_P)), np.concatenate(base), _seed(rng))


def _published(
    label_P: NDArray[np.str_], rare: dict[str, int], threshold: int, rng: np.random.Generator
) -> Iterator[_Round]:
    """Train on the labels that are not full, add each of their cells once, and begin again."""
    left = {label: threshold - n for label, n in rare.items()}
    # The published loop trains on all labels at or below the threshold; one that is full leaves it.
    train = np.arange(len(label_P))
    while any(left.values()):
        base = []
        for label in [label for label, n in left.items() if n]:
            own = rng.permutation(np.flatnonzero(label_P == label))[: left[label]]
            base.append(np.sort(own))
            left[label] -= len(own)
        yield _Round(train, np.concatenate(base), _seed(rng))
        train = np.flatnonzero(np.isin(label_P, [label for label, n in left.items() if n]))


def _unheard(_what: str, _share: float) -> None:
    """Ignore progress."""


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


class _Imputed(Derived):
    """Cells that a model makes. They are made together, once, in one order: kept in the store, or in memory."""

    def __init__(  # noqa: PLR0913  # its state
        self,
        parents: Corpus,
        rounds: Iterable[Iterable[Any]],
        model: tuple[str, Mapping[str, Any]],
        *,
        version: str,
        key: int,
        published: bool,
        context: Context,
    ) -> None:
        super().__init__(parents)
        self.rounds, self.model = [_Round(*one) for one in rounds], model
        self.version, self.key, self.published = version, key, published
        self.imputer, self.store = context.imputer(*model), context.store
        self._made: csr_matrix | None = None

    @property
    def is_whole(self) -> bool:
        """Draws are whole, expectations are not."""
        return not self.published

    @property
    def made_key(self) -> str:
        """What its cells are called in a store; by their sources' content, too."""
        return fingerprint("made 1", self.fingerprint, self.parents.identity(), self.imputer.identity())

    @property
    def trainings(self) -> Sequence[tuple[Imputer, int]]:
        """One model a round."""
        return [(self.imputer, len(one.train)) for one in self.rounds]

    def make(self, folder: Path, notice: Callable[[str, float], None]) -> None:
        """Train, and make all cells."""
        write_counts(folder / "counts.h5ad", self._blocks(notice), self.parents.n_genes)

    def counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Look the cells up; make them all where that was not done yet."""
        if self.store is None:
            if self._made is None:
                self._made = vstack([*self._blocks(_unheard)], format="csr")
            return self._made[rows]
        folder = self.store.kept(
            MADE_CELLS, self.made_key, lambda folder: self.make(folder, _unheard), label="cells that a model makes"
        )
        return read_counts(folder / "counts.h5ad", rows)

    def weights(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Name the cell that was encoded; all others of the training contributed, too."""
        return picked(np.concatenate([one.base for one in self.rounds])[rows], len(self.parents))

    def state(self) -> dict[str, Any]:
        """Return the model, which cells it learns from and makes others of, and the random key."""
        return {
            "rounds": [[*one] for one in self.rounds],
            "model": [*self.model],
            "version": self.version,
            "key": self.key,
            "published": self.published,
        }

    @classmethod
    def restored(cls, parents: Corpus, state: dict[str, Any], context: Context) -> Self:
        """Return what had a state; see `Derived.restored`."""
        return cls(parents, **state, context=context)

    def _blocks(self, notice: Callable[[str, float], None]) -> Iterator[csr_matrix]:
        start = 0
        for at, one in enumerate(self.rounds, start=1):
            train, base = self.parents.take(one.train), self.parents.take(one.base)
            round_at = f", round {at} of {len(self.rounds)}" if len(self.rounds) > 1 else ""
            what = f"impute_rare: training {self.model[0]}{round_at}"
            fitted = self.imputer.fit(train, one.seed, partial(notice, what))
            if self.published:
                yield from (csr_matrix(mean_BG.astype(np.float32)) for _, mean_BG in _expected(fitted, base))
                continue
            size_G = _dispersions(fitted, train)
            # The rows of a key's generators are the cells'; the posterior's samples come from a row beyond them.
            samples = next(row_generators(self.key, [2**63 + start]))
            for rows, mean_BG in _expected(fitted, base, samples):
                yield _drawn(mean_BG, size_G, row_generators(self.key, range(start + rows.start, start + rows.stop)))
            start += len(base)


def _expected(
    fitted: ImputedCounts, cells: Corpus, samples: np.random.Generator | None = None
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield, block by block, the counts expected in each cell at its own total; none of genes not measured in it."""
    for rows, fraction_BG in fitted.expected_fractions(cells, samples):
        total_B = np.asarray(cells.counts(rows).sum(axis=1, dtype=np.float64))
        yield rows, fraction_BG.astype(np.float64) * total_B * cells.measured_SG[cells.source_codes[rows]]


def _dispersions(fitted: ImputedCounts, cells: Corpus) -> NDArray[np.float64]:
    """Return each gene's inverse dispersion around its expectations, by moments; infinite where it varies no more."""
    square_G, excess_G = np.zeros(cells.n_genes), np.zeros(cells.n_genes)
    for rows, mean_BG in _expected(fitted, cells):
        square_G += (mean_BG**2).sum(axis=0)
        excess_G += ((cells.counts(rows).toarray() - mean_BG) ** 2 - mean_BG).sum(axis=0)
    size_G: NDArray[np.float64] = np.full(len(square_G), np.inf)
    np.divide(square_G, excess_G, out=size_G, where=excess_G > 0)
    return size_G


def _drawn(
    mean_BG: NDArray[np.float64], size_G: NDArray[np.float64], generators: Iterator[np.random.Generator]
) -> csr_matrix:
    """Draw negative binomial counts, a cell from each generator."""
    spreads = np.isfinite(size_G) & (size_G > 0)
    size = np.where(spreads, size_G, 1.0)
    genes, counts = [], []
    for mean_G, rng in zip(mean_BG, generators, strict=True):
        rate_G = np.where(spreads, rng.gamma(size, mean_G / size), mean_G)
        drawn_G = rng.poisson(rate_G)
        genes.append(np.flatnonzero(drawn_G))
        counts.append(drawn_G[genes[-1]].astype(np.float32))
    return from_rows(genes, counts, len(size_G))
