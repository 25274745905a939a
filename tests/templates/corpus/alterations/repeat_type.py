"""Repeat type: use the cells of one type several times."""

from typing import Annotated

import numpy as np
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.corpus.alteration import Alteration, Altered, label_or_refuse, times_used, with_uses
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus


@component
class RepeatType(Alteration):
    """Use the cells of a type `times` times in each epoch; nothing is copied.

    Parameters
    ----------
    type
        The cell type.
    times
        How many times as often.

    Examples
    --------
    >>> str(RepeatType(type="B"))
    'repeat_type (type = B, times = 2)'
    """

    type: str
    times: Annotated[int, Field(gt=1, le=1000)] = 2

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Repeat cells; see `Alteration.apply`."""
        here_N = label_or_refuse(corpus, "cell_type", self) == self.type
        times_N = times_used(corpus)
        return Altered(
            with_uses(corpus, np.where(here_N, self.times * times_N, times_N)), {"n_repeated": int(here_N.sum())}
        )
