"""Oversample: use cells of small labels several times, until each label has as many as the largest."""

from typing import Annotated

import numpy as np
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.alteration import MOST_MADE, Alteration, Altered, counted, label_or_refuse, times_used, with_uses
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus


@component
class Oversample(Alteration):
    """Repeat cells of small labels at random, as imbalanced-learn's ``RandomOverSampler``.

    Every cell stays; further uses are drawn with replacement until a label has enough. Nothing is copied: a repeated
    cell is used more `times` in an epoch. Cells without a label stay as they are.

    Parameters
    ----------
    by
        The label column.
    to
        How many uses of cells each label gets that has fewer; larger ones stay. None: as many as the largest has.

    Examples
    --------
    >>> str(Oversample())
    'oversample (by = cell_type)'
    """

    by: str = "cell_type"
    to: Annotated[int, Field(gt=0, le=MOST_MADE)] | None = None

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Repeat cells; see `Alteration.apply`."""
        label_N, times_N = label_or_refuse(corpus, self.by, self), times_used(corpus)
        before = counted(times_N, label_N)
        labelled = {label: n for label, n in before.items() if label}
        if not labelled:
            raise CorpusError(f"oversample: no cell has a {self.by}")
        goal = self.to or max(labelled.values())
        if goal <= min(labelled.values()):
            raise CorpusError(
                f"oversample: every {self.by} has {goal:,} cells or more ({_shown(labelled)}), so none would be "
                "repeated; raise to, or leave the step out"
            )
        after_N = times_N.copy()
        for label, n in labelled.items():
            if n < goal:
                here = np.flatnonzero(label_N == label)
                # In proportion to how often each is used already, as if its uses were copies.
                after_N[here] += rng.multinomial(goal - n, times_N[here] / n)
        return Altered(
            with_uses(corpus, after_N), {"by": self.by, "before": before, "after": counted(after_N, label_N)}
        )


def _shown(labelled: dict[str, int]) -> str:
    return ", ".join(f"{label} {n:,}" for label, n in sorted(labelled.items(), key=lambda item: item[1])[:5])
