"""Allowed: which mixtures advice may be about: those within the caps, of sources that some run has."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from corpuscle.core.errors import InputError
from corpuscle.core.text import shortened
from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.simplex import checked_caps
from corpuscle.mixture.surrogate import Array

# By how much a weight may be above its cap: rounding.
SLACK = 1e-6


class Allowed(NamedTuple):
    """What may be compared.

    Attributes
    ----------
    caps_K
        The largest weight of each source; 0 for one that no run has, of which nothing is known.
    also
        The given mixtures that are within the caps; None where there are none.
    notes
        Which are not, a sentence.
    why_not
        Why there are no such mixtures, in words; empty where there are.
    """

    caps_K: Array
    also: pd.DataFrame | None
    notes: tuple[str, ...]
    why_not: str

    def run_NK(self, fitted: FittedMixture) -> Array:
        """Return the mixtures that were run and are within the caps."""
        found_MK = fitted.table.mixtures_MK
        return np.asarray(found_MK[(found_MK <= self.caps_K + SLACK).all(axis=1)])

    def checked(self) -> "Allowed":
        """Return this.

        Raises
        ------
        InputError
            When no mixture is allowed.
        """
        if self.why_not:
            raise InputError(
                f"caps: {self.why_not}; raise the caps of the others, or run mixtures that have some of it"
            )
        return self


def allowed(fitted: FittedMixture, caps: Mapping[str, float] | ArrayLike | None, also: pd.DataFrame | None) -> Allowed:
    """Return what may be compared, of mixtures that were run and mixtures that are given.

    Raises
    ------
    InputError
        When the caps, or given mixtures, are none.
    """
    table = fitted.table
    caps_K = np.where(table.used_K, checked_caps(caps, table.sources), 0.0)
    why_not = ""
    if caps_K.sum() < 1 - 1e-9:
        unused = [name for name, used in zip(table.sources, table.used_K, strict=True) if not used]
        why_not = (
            f"no mixture within the caps is without {shortened(', '.join(unused))}, of which no run has any, so that "
            f"nothing is known of what it would do (the others may have {caps_K.sum():.3g} of 1)"
        )
    if also is None or not len(also):
        return Allowed(caps_K, None, (), why_not)
    within_N = np.asarray((fitted.weights_of(also) <= caps_K + SLACK).all(axis=1), bool)
    beyond = [str(name) for name, within in zip(also.index, within_N, strict=True) if not within]
    notes = (
        f"not compared, as they have a source above its cap, or one that no run has: {shortened(', '.join(beyond))}",
    ) if beyond else ()  # fmt: skip
    return Allowed(caps_K, also[within_N] if within_N.any() else None, notes, why_not)
