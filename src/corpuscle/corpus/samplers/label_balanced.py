"""Label-balanced: as many cells of each label as there can be, or in given proportions; caps for donors."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component, legal_names
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import drawn_key, name_numbers
from corpuscle.corpus.balanced_order import rank_within, take_turns
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.named_labels import NamedLabels, named_labels
from corpuscle.corpus.sampler import Groups, Sampler, cell_numbers, label_groups, n_missing


@component
class LabelBalanced(Sampler):
    """Draw the same number of cells of each label; labels too small for their share give all they have.

    What small labels leave over is shared among the larger ones (water-filling), so that the budget is met exactly.
    Cells without a label are a group of their own. With one generator state, a smaller draw is contained in a larger.

    Parameters
    ----------
    by
        The label column to balance.
    weights
        For labels that are not to count like the others: how many times as many cells of it to draw, such as
        ``{ "CD14 Mono" = 0.5 }``; ``""`` stands for cells without a label. The others have weight 1.
    within
        A second label, such as ``"study"`` or ``"batch"``, that is balanced within each label of the first: each data
        set has an equal vote in each cell type, whatever its size; those with too few cells give all they have.
    max_per_donor
        No donor gives more cells than this. A donor that has more is cut first, as evenly over its labels as can be.
        Cells without a donor count as one donor's.
    """

    by: str = "cell_type"
    weights: dict[str, Annotated[float, Field(gt=0)]] | None = None
    within: str | None = None
    max_per_donor: Annotated[int, Field(gt=0)] | None = None

    @property
    def names_labels(self) -> tuple[NamedLabels, ...]:
        """The labels that have a weight."""
        return named_labels("weights", self.by, self.weights)

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        groups = label_groups(pool, self.by, self)
        weight_K = self._weights(groups)
        number_N = cell_numbers(pool, drawn_key(rng))
        number_K = name_numbers(drawn_key(rng), groups.names)
        if self.within:
            number_N = _in_turns(groups, label_groups(pool, self.within, self), number_N)
        if self.max_per_donor is None:
            return take_turns(groups.group_N, n_cells, number_N, number_K, weight_K)
        kept = self._capped(pool, groups, self.max_per_donor, number_N)
        if len(kept) < n_cells:
            raise CorpusError(
                f"label_balanced: {n_cells:,} cells are asked for, but with at most {self.max_per_donor:,} of each "
                f"donor only {len(kept):,} of {len(pool):,} are left; raise max_per_donor, or ask for fewer"
            )
        return kept[take_turns(groups.group_N[kept], n_cells, number_N[kept], number_K, weight_K)]

    def notes(self, chosen: Corpus) -> dict[str, Any]:
        """Count the cells without a label."""
        return {"without_label": n_missing(chosen, self.by)}

    def _weights(self, groups: Groups) -> NDArray[np.float64] | None:
        if self.weights is None:
            return None
        for label in self.weights:
            if label not in groups.names:
                raise CorpusError(
                    f"label_balanced: weights has {label!r}, which is no {self.by} here; "
                    f"{legal_names(label, [name for name in groups.names if name])}"
                )
        return np.array([self.weights.get(name, 1.0) for name in groups.names])

    def _capped(self, pool: Corpus, groups: Groups, cap: int, number_N: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Choose which cells each donor may give."""
        donors = label_groups(pool, "donor", self)
        shuffled = np.argsort(number_N)
        donor_N, group_N = donors.group_N[shuffled], groups.group_N[shuffled]
        # Within a donor its labels take turns: sorted by turn, its first cells are the ones it gives.
        turn_N = rank_within(donor_N * len(groups.names) + group_N)
        by_turn = np.argsort(turn_N, kind="stable")
        return np.sort(shuffled[by_turn[rank_within(donor_N[by_turn]) < cap]])


def _in_turns(groups: Groups, inner: Groups, number_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers by which the inner groups of each group take turns, the cells of each in their order."""
    shuffled = np.argsort(number_N)
    turn_N = np.empty(len(number_N), np.int64)
    turn_N[shuffled] = rank_within(groups.group_N[shuffled] * len(inner.names) + inner.group_N[shuffled])
    place_N = np.empty(len(number_N), np.uint64)
    place_N[np.lexsort((number_N, turn_N))] = np.arange(len(number_N), dtype=np.uint64)
    return place_N
