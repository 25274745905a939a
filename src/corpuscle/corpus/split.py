"""Split: hold out whole donors, batches or studies, or a share of cells; and show that nothing leaked."""

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from corpuscle.core.components import component, legal_names
from corpuscle.core.errors import CorpusError, LeakageError
from corpuscle.corpus.corpus import Corpus, texts
from corpuscle.corpus.places import Places


@component
class Holdout:
    """Which cells of a source are kept for evaluation and never trained on.

    Parameters
    ----------
    by
        ``"donor"``, ``"batch"`` or ``"study"``: whole groups are held out. ``"cell"``: cells, whatever their donor;
        a model is then evaluated on donors that it has seen.
    share
        The share to hold out, of groups or of cells; at least one group, never all.
    values
        The groups to hold out, by name, in place of a share.
    """

    by: Literal["donor", "batch", "study", "cell"]
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    values: Annotated[list[str], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_of_share_and_values(self) -> "Holdout":
        if (self.share is None) == (self.values is None):
            raise ValueError("give either share or values")
        if self.by == "cell" and self.values is not None:
            raise ValueError('by = "cell" needs a share, not values')
        return self

    def mask(self, cells: pd.DataFrame, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Say which cells are held out.

        Parameters
        ----------
        cells
            n cells with their labels.
        rng
            Decides which groups or cells.

        Returns
        -------
        Boolean array of shape (n,).

        Raises
        ------
        CorpusError
            When the cells have no such groups or some have none, or when nothing would be left to train on.

        Examples
        --------
        >>> cells = pd.DataFrame({"donor": ["d1", "d1", "d2", "d3"]})
        >>> Holdout(by="donor", values=["d2"]).mask(cells, np.random.default_rng(0))
        array([False, False,  True, False])
        """
        n = len(cells)
        if self.by == "cell":
            assert self.share is not None, "checked when constructed"
            if n < 2:
                raise CorpusError(f"holds out a share of cells, but there is only {n} cell")
            held = np.zeros(n, bool)
            held[rng.permutation(n)[: _share_of(self.share, n)]] = True
            return held
        if self.by not in cells:
            raise CorpusError(f'holds out by {self.by}, but the source has no {self.by} column; by = "cell" would do')
        group_N = texts(cells[self.by])
        if unknown := int(np.sum(group_N == "")):
            raise CorpusError(
                f"{unknown:,} of {n:,} cells have no {self.by}, so it cannot be known whether they belong to one that "
                f'is held out; leave them out of the source with where = "{self.by} == {self.by}", or use by = "cell"'
            )
        return np.isin(group_N, self._chosen(np.unique(group_N), rng))

    def _chosen(self, groups: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.str_]:
        if self.values is not None:
            for value in self.values:
                if value not in groups:
                    raise CorpusError(f"there is no {self.by} {value!r}; {legal_names(value, groups.tolist())}")
            if len(set(self.values)) == len(groups):
                raise CorpusError(f"every {self.by} is held out ({', '.join(groups)}), so nothing is left to train on")
            return np.array(self.values, dtype=str)
        if len(groups) < 2:
            raise CorpusError(
                f'holds out a share of {self.by} groups, but there is only {str(groups[0])!r}; use by = "cell"'
            )
        assert self.share is not None, "checked when constructed"
        return rng.permutation(groups)[: _share_of(self.share, len(groups))]


def _share_of(share: float, n: int) -> int:
    """Return a share of n things: at least one, never all."""
    return min(max(1, round(share * n)), n - 1)


_HELP = (
    "Hold the cells out ([holdout]), keep them out of the corpus (exclude, where), drop copies ([quality] "
    "drop_duplicates = true), or, where cells have so few counts that they are alike by chance, raise min_counts"
)


def check_disjoint(corpora: Iterable[Corpus], targets: Iterable[Corpus], hashes: "pd.Series[int]") -> None:
    """Refuse to go on when a cell to be evaluated on is in a training corpus; see `Watch`.

    Raises
    ------
    LeakageError
        For the first corpus that has such cells: naming it, the targets and the first of the cells found.
    """
    Watch(targets, hashes).check(corpora)


class Watch:
    """Watches over the cells that models are evaluated on: none of them may be in a training corpus.

    A cell is the same when its source and row are, or when the hash of its counts is: the same cell can be in two
    files, or twice in one. Which cells must not be trained on is found once; a corpus is then looked up in linear time.

    Parameters
    ----------
    targets
        What models will be evaluated on.
    hashes
        The hash of each cell's counts in the study's genes, indexed by (source, row); see `source.quality.survey`.
    """

    def __init__(self, targets: Iterable[Corpus], hashes: "pd.Series[int]") -> None:
        self._hash_of = hashes.to_numpy()
        self._places = Places(pd.MultiIndex.from_arrays([hashes.index.get_level_values(level) for level in (0, 1)]))
        self._targets = [(target, self._places.of(target)) for target in targets]
        self._held = np.zeros(len(hashes), bool)
        for _, places in self._targets:
            self._held |= np.isin(self._hash_of, self._hash_of[places])

    def check(self, corpora: Iterable[Corpus]) -> None:
        """Refuse to go on when a corpus has such cells.

        Raises
        ------
        LeakageError
            For the first corpus that has some: naming it, the targets and the first of the cells found.
        """
        for corpus in corpora:
            corpus_places = self._places.of(corpus)
            if not self._held[corpus_places].any():
                continue
            leaks = []
            for target, places in self._targets:
                same_row = np.isin(places, corpus_places)
                same_counts = np.isin(self._hash_of[places], self._hash_of[corpus_places])
                if same_counts.any():
                    leaks.append(_leak(corpus, target, same_row, same_counts & ~same_row))
            raise LeakageError(f"{'; '.join(leaks)}. {_HELP}")


def _leak(corpus: Corpus, target: Corpus, same_row: NDArray[np.bool_], same_counts: NDArray[np.bool_]) -> str:
    found = target.cells[same_row | same_counts]
    names = [f"{cell.source} row {cell.row} ({cell.barcode})" for cell in found.head(5).itertuples()]
    how = f"{same_row.sum():,} are the very same cells, {same_counts.sum():,} have identical counts"
    return (
        f"{len(found):,} cells of target {target.name!r} are also in training corpus {corpus.name!r} ({how}): "
        f"{', '.join(names)}{', …' if len(found) > 5 else ''}"
    )
