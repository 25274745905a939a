"""Split: hold out whole donors, batches or studies, or a share of cells; and show that nothing leaked."""

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from corpuscle.core.components import component, legal_names
from corpuscle.core.errors import CorpusError, LeakageError
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.overlap import Copies, why
from corpuscle.corpus.places import Places
from corpuscle.source.labels import label_texts


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
        """Return which cells are held out.

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
        group_N = label_texts(cells[self.by])
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
    "Hold the cells out ([holdout]), keep them out of the corpus (exclude, where), or drop the training cells that are "
    'copies: [quality] near_duplicates = "drop" (drop_duplicates = true drops only those with identical counts)'
)
# Leaking cells that a message names.
_NAMED = 5


class Watch:
    """Watches over the cells that models are evaluated on: none of them may be in a training corpus.

    A cell is the same when its source and row are, or when it is a copy: the same cell can be in two files, or twice
    in one. Which cells must not be trained on is found once; a corpus is then looked up in linear time.

    Parameters
    ----------
    targets
        What models will be evaluated on.
    copies
        Which cells are one cell; see `corpuscle.corpus.overlap.find_copies`.
    keep
        Sources whose training cells may be near-duplicates of an evaluation cell; identical ones may not.
    """

    def __init__(self, targets: Iterable[Corpus], copies: Copies, keep: frozenset[str] = frozenset()) -> None:
        self._copies, self._places = copies, Places(copies.cells)
        kept_N = np.isin(copies.cells.get_level_values("source").to_numpy(object), sorted(keep))
        self._evaluated = [self._watched(target, kept_N) for target in targets]
        self._is_watched = np.zeros(len(copies.cells), bool)
        for _, *watched in self._evaluated:
            for places in watched:
                self._is_watched[places] = True

    def _watched(
        self, target: Corpus, kept_N: NDArray[np.bool_]
    ) -> tuple[Corpus, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return a target, its cells' places, and the copies of these that no corpus may have, and that it may."""
        places = self._places.of(target)
        found = self._copies.of(places)
        cells = found["cell"].to_numpy(np.int64)
        may = ~found["identical"].to_numpy(bool) & kept_N[cells]
        return target, places, cells[~may], cells[may]

    def check(self, corpora: Iterable[Corpus]) -> list[str]:
        """Refuse to go on when a corpus has such cells.

        Returns
        -------
        What was found and kept, a text for each corpus and target.

        Raises
        ------
        LeakageError
            For the first corpus that has such cells: naming it, the targets and the first of the cells found.
        """
        kept: list[str] = []
        for corpus in corpora:
            corpus_places = self._places.of(corpus)
            watched = corpus_places[self._is_watched[corpus_places]]
            if not len(watched):
                continue
            leaks = []
            for target, places, refused, allowed in self._evaluated:
                same_row = np.isin(places, watched)
                copied = watched[np.isin(watched, refused)]
                leaks.append(self._leak(corpus, target, same_row, self._copied(copied, places[~same_row])))
                near = watched[np.isin(watched, allowed)]
                kept.append(self._leak(corpus, target, same_row & False, self._copied(near, places)))
            if leaks := [leak for leak in leaks if leak]:
                raise LeakageError(f"{'; '.join(leaks)}. {_HELP}")
        return [text for text in kept if text]

    def _copied(self, trained: NDArray[np.int64], places: NDArray[np.int64]) -> pd.DataFrame:
        """Return the evaluation cells that these training cells copy: `Copies.of`, its ``original`` trained on."""
        found = self._copies.of(trained)
        return found[np.isin(found["cell"], places)]

    def _leak(self, corpus: Corpus, target: Corpus, same_row: NDArray[np.bool_], copied: pd.DataFrame) -> str:
        """Return which cells of a target are in a corpus, and how that is known; nothing where there is none."""
        if not same_row.any() and not len(copied):
            return ""
        n_identical = int(copied["identical"].sum())
        how = f"{same_row.sum():,} are the very same cells, {n_identical:,} have identical counts"
        if n_identical < len(copied):
            with_barcode = int((copied["same_barcode"] & ~copied["identical"]).sum())
            how += (
                f", {len(copied) - n_identical:,} are near-duplicates, {with_barcode:,} of them with the same barcode"
            )
        names = [
            f"{cell.source} row {cell.row} ({cell.barcode})"
            for cell in target.cells[same_row].head(_NAMED).itertuples()
        ]
        for _, row in copied.head(_NAMED - len(names)).iterrows():
            (source, at), (other, there) = self._copies.cells[row["cell"]], self._copies.cells[row["original"]]
            here = target.cells[(target.cells["source"] == source) & (target.cells["row"] == at)]
            barcode = here["barcode"].iloc[0] if len(here) else "a parent"
            names.append(f"{source} row {at} ({barcode}) is {other} row {there}: {why(row)}")
        n = int(same_row.sum()) + len(copied)
        return (
            f"{n:,} cells of target {target.name!r} are also in training corpus {corpus.name!r} ({how}): "
            f"{', '.join(names)}{', …' if n > len(names) else ''}"
        )
