"""Utility: what is to be as high as possible, of several outputs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from corpuscle.core.errors import InputError
from corpuscle.core.text import shortened
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.table import FEWEST_MIXTURES, Table


@dataclass(frozen=True)
class Utility:
    """How good a mixture is, in standard deviations over the mixtures that were run; higher is better.

    Each output is turned so that higher is better, its mean over the mixtures that were run is subtracted, and it is
    divided by their standard deviation: so no output counts more for its unit.

    Attributes
    ----------
    weights
        How much each output counts, 0 or more; None: all alike. Outputs that are not named don't count.
    worst
        Take the worst of the outputs with a weight, rather than their weighted mean.
    """

    weights: Mapping[str, float] | None = None
    worst: bool = False

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
        share_O = self._shares(table)
        means_MO = table.means_MO(table.scores_RO)
        with np.errstate(invalid="ignore"):
            off_MO = means_MO - _mean(means_MO)
            unit_O = np.sqrt(_mean(off_MO**2))
            better_NO = (scores_NO - _mean(means_MO)) / np.where(unit_O > 0, unit_O, np.inf)
        better_NO = (np.where(table.lower_O, -1.0, 1.0) * better_NO)[:, share_O > 0]
        return np.asarray(better_NO.min(axis=1) if self.worst else better_NO @ share_O[share_O > 0])

    def _shares(self, table: Table) -> Array:
        """Return how much each output counts, shape (O,), 1 in all."""
        weights = dict.fromkeys(table.outputs, 1.0) if self.weights is None else dict(self.weights)
        unknown = [name for name in weights if name not in table.outputs]
        if unknown:
            raise InputError(
                f"utility: there is no output {shortened(str(unknown[0]))!r}; there are "
                f"{shortened(', '.join(table.outputs))}"
            )
        if any(not 0 <= weight < np.inf for weight in weights.values()):
            raise InputError(f"utility: expected weights from 0 on; got {shortened(repr(weights))}")
        share_O = np.array([weights.get(name, 0.0) for name in table.outputs], float)
        # What is not there, or is the same for all, has no better and worse.
        n_known_O = np.isfinite(table.means_MO(table.scores_RO)).sum(axis=0)
        share_O[n_known_O < FEWEST_MIXTURES] = 0
        if not share_O.sum():
            raise InputError(
                f"utility: none of the outputs that count has scores of {FEWEST_MIXTURES} different mixtures"
            )
        return np.asarray(share_O / share_O.sum())


def _mean(values_MO: Array) -> Array:
    """Return the mean of what is known, for each output."""
    known_MO = np.isfinite(values_MO)
    return np.asarray(np.where(known_MO, values_MO, 0).sum(axis=0) / np.maximum(known_MO.sum(axis=0), 1))
