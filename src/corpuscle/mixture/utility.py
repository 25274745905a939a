"""Utility: what is to be as high as possible, of several outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np

from corpuscle.core.errors import InputError
from corpuscle.core.text import shortened
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.table import FEWEST_MIXTURES, Table
from corpuscle.mixture.units import centre_and_unit


@dataclass(frozen=True)
class Utility:
    """How good a mixture is, in standard deviations over the mixtures that were run; higher is better.

    Each output is turned so that higher is better, its mean over the mixtures that were run is subtracted, and it is
    divided by their standard deviation: so no output counts more for its unit. An output that is the same for all of
    them has no better and worse, and counts neither in the mean nor as the worst.

    Attributes
    ----------
    weights
        How much each output counts, 0 or more; None: all alike. Outputs that are not named don't count.
    worst
        Take the worst of the outputs with a weight, rather than their weighted mean.
    pareto
        Look for the front of all outputs with a weight: mixtures that are best for one, for the weighted mean, and
        for what is between. Where one number is needed, such as in a scorecard, it is the weighted mean.

    Raises
    ------
    InputError
        When both the worst and the front are asked for.
    """

    weights: Mapping[str, float] | None = None
    worst: bool = False
    pareto: bool = False

    def __post_init__(self) -> None:
        if self.worst and self.pareto:
            raise InputError("utility: expected the worst output or the front of all (pareto); got both: choose one")

    def of(self, table: Table, scores_NO: Array) -> Array:
        """Return the utility of scores, shape (N,); NaN where an output that counts is missing.

        Parameters
        ----------
        table
            What was run: names and directions of outputs, and what is usual.
        scores_NO
            Scores in the outputs' own units.

        Raises
        ------
        InputError
            When no output counts, or a weight is of no output or below 0.
        """
        share_O = self.shares(table)
        better_NO = turned(table, scores_NO)[:, share_O > 0]
        return np.asarray(better_NO.min(axis=1) if self.worst else better_NO @ share_O[share_O > 0])

    def shares(self, table: Table) -> Array:
        """Return how much each output counts, shape (O,), 1 in all; 0 where too few mixtures have it, or all the same.

        Where all that are to count are the same for all mixtures, they keep their shares: each adds 0.

        Raises
        ------
        InputError
            See `of`.
        """
        weights = dict.fromkeys(table.outputs, 1.0) if self.weights is None else dict(self.weights)
        unknown = [name for name in weights if name not in table.outputs]
        if unknown:
            raise InputError(
                f"utility: there is no output {shortened(str(unknown[0]))!r}; there are "
                f"{shortened(', '.join(table.outputs))}"
            )
        if any(not isinstance(weight, Real) or not 0 <= weight < np.inf for weight in weights.values()):
            raise InputError(f"utility: expected weights from 0 on; got {shortened(repr(weights))}")
        share_O = np.array([weights.get(name, 0.0) for name in table.outputs], float)
        if not share_O.any():
            raise InputError(
                f"utility: no output has a weight above 0; give one to some of {shortened(', '.join(table.outputs))}"
            )
        means_MO = table.means_MO(table.scores_RO)
        share_O[np.isfinite(means_MO).sum(axis=0) < FEWEST_MIXTURES] = 0
        if not share_O.any():
            raise InputError(
                f"utility: none of the outputs that count has scores of {FEWEST_MIXTURES} different mixtures"
            )
        differing_O = np.where(centre_and_unit(means_MO)[1] > 0, share_O, 0.0)
        share_O = differing_O if differing_O.any() else share_O
        return np.asarray(share_O / share_O.sum())

    def counted(self, table: Table) -> list[str]:
        """Return the names of the outputs that count."""
        return [name for name, share in zip(table.outputs, self.shares(table), strict=True) if share > 0]

    def lacking(self, table: Table) -> list[str]:
        """Return the names of outputs that were to count, and don't since too few mixtures have them."""
        return [name for name, n_known in self._not_counted(table).items() if n_known < FEWEST_MIXTURES]

    def constant(self, table: Table) -> list[str]:
        """Return the names of outputs that were to count, and don't since they are the same for all mixtures."""
        return [name for name, n_known in self._not_counted(table).items() if n_known >= FEWEST_MIXTURES]

    def _not_counted(self, table: Table) -> dict[str, int]:
        """Return the outputs that were to count and don't, and how many mixtures have them."""
        asked = table.outputs if self.weights is None else [name for name, weight in self.weights.items() if weight > 0]
        n_known_O = np.isfinite(table.means_MO(table.scores_RO)).sum(axis=0)
        known, counted = dict(zip(table.outputs, n_known_O.tolist(), strict=True)), self.counted(table)
        return {name: known[name] for name in asked if name not in counted}


def turned(table: Table, scores_NO: Array) -> Array:
    """Return scores so that higher is better, in standard deviations over the mixtures that were run, shape (N, O)."""
    centre_O, unit_O = centre_and_unit(table.means_MO(table.scores_RO))
    with np.errstate(invalid="ignore"):
        better_NO = (scores_NO - centre_O) / np.where(unit_O > 0, unit_O, np.inf)
    return np.asarray(np.where(table.lower_O, -1.0, 1.0) * better_NO)


def in_own_units(table: Table, better_NO: Array) -> Array:
    """Return what `turned` was given."""
    centre_O, unit_O = centre_and_unit(table.means_MO(table.scores_RO))
    return np.asarray(centre_O + np.where(table.lower_O, -1.0, 1.0) * unit_O * better_NO)
