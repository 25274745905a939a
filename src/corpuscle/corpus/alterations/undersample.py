"""Undersample: take cells of large labels away, until each label has as many as the smallest, or a threshold."""

from typing import Annotated

import numpy as np
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.alteration import Alteration, Altered, counted, drawn_uses, label_or_refuse, times_used, with_uses
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus


@component
class Undersample(Alteration):
    """Remove cells of large labels at random, as imbalanced-learn's ``RandomUnderSampler``, or down to a threshold.

    The published remedy for imbalance in annotation sets a threshold: the smallest label at or above it is cut to it,
    the others above it to the same number, and labels below are left alone. Cells without a label stay as they are.

    Parameters
    ----------
    by
        The label column.
    threshold
        Labels with more cells than this are cut to it. None: all are cut to the smallest label's number.

    Examples
    --------
    >>> str(Undersample(threshold=100))
    'undersample (by = cell_type, threshold = 100)'
    """

    by: str = "cell_type"
    threshold: Annotated[int, Field(gt=0)] | None = None

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Remove cells; see `Alteration.apply`."""
        label_N, times_N = label_or_refuse(corpus, self.by, self), times_used(corpus)
        before = counted(times_N, label_N)
        labelled = {label: n for label, n in before.items() if label}
        if not labelled:
            raise CorpusError(f"undersample: no cell has a {self.by}")
        goal = self.threshold or min(labelled.values())
        if goal >= max(labelled.values()):
            largest = max(labelled, key=labelled.__getitem__)
            raise CorpusError(
                f"undersample: no {self.by} has more than {goal:,} cells (the largest, {largest!r}, has "
                f"{labelled[largest]:,}), so none would be removed; lower threshold, or leave the step out"
            )
        after_N = times_N.copy()
        for label, n in labelled.items():
            if n > goal:
                here = np.flatnonzero(label_N == label)
                after_N[here] = drawn_uses(times_N[here], goal, rng)
        return Altered(
            with_uses(corpus, after_N), {"by": self.by, "before": before, "after": counted(after_N, label_N)}
        )
