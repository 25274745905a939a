"""Label noise: give a share of the cells a wrong label."""

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component, legal_names
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.alteration import Alteration, Altered, label_or_refuse, matching, times_used
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus


@component
class LabelNoise(Alteration):
    """Flip the labels of a share of the training cells; their counts stay.

    Which cells is drawn uniformly among those that have a label. The label before stays in a column of its own,
    ``cell_type_before_noise`` for ``cell_type``. Evaluation cells keep their labels.

    Parameters
    ----------
    rate
        Which share of the labelled cells gets another label, to the nearest cell.
    by
        The label to flip.
    to
        The label that they get; cells that have it cannot be chosen. None: any other label of the corpus, each as
        likely.
    where
        Only cells that match this filter are meant.

    Examples
    --------
    >>> str(LabelNoise(rate=0.1, to="B"))
    'label_noise (rate = 0.1, by = cell_type, to = B)'
    """

    rate: Annotated[float, Field(gt=0, le=1)]
    by: Literal["cell_type", "donor", "batch", "study", "tissue", "disease", "assay", "organism"] = "cell_type"
    to: str | None = None
    where: str | None = None

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Flip labels; see `Alteration.apply`."""
        label_N = label_or_refuse(corpus, self.by, self)
        known = [label for label in np.unique(label_N).tolist() if label]
        if self.to is not None and self.to not in known:
            raise CorpusError(f"label_noise: no cell has the {self.by} {self.to!r}; {legal_names(self.to, known)}")
        if len(known) < 2:
            raise CorpusError(f"label_noise: the corpus has only the {self.by} {', '.join(known) or 'none'}")
        may_N = matching(corpus, self.where, self) & (label_N != "") & (label_N != (self.to or ""))
        chosen = np.sort(rng.permutation(np.flatnonzero(may_N))[: round(self.rate * int(may_N.sum()))])
        if not len(chosen):
            raise CorpusError(
                f"label_noise: {self.rate:g} of {int(may_N.sum()):,} cells is none, so nothing would change; raise rate"
            )
        noisy_N = label_N.astype(object)
        noisy_N[chosen] = self.to if self.to is not None else _others(label_N[chosen], known, rng)
        return Altered(self._relabelled(corpus, noisy_N), self._account(corpus, chosen, label_N, noisy_N))

    def _relabelled(self, corpus: Corpus, noisy_N: NDArray[np.object_]) -> Corpus:
        cells = corpus.cells.copy()
        before = f"{self.by}_before_noise"
        if before not in cells:
            cells[before] = cells[self.by]
        cells[self.by] = pd.Series(noisy_N, dtype=object).mask(noisy_N == "").astype("category")
        return replace(corpus, cells=cells)

    def _account(
        self, corpus: Corpus, chosen: NDArray[np.int64], label_N: NDArray[np.str_], noisy_N: NDArray[np.object_]
    ) -> dict[str, object]:
        flips = pd.DataFrame(
            {"from": label_N[chosen], "to": noisy_N[chosen].astype(str), "n_cells": times_used(corpus)[chosen]}
        )
        table = flips.groupby(["from", "to"], sort=True)["n_cells"].sum().reset_index()
        return {"by": self.by, "flipped": int(flips["n_cells"].sum()), "touched": table.to_dict("records")}


def _others(label_n: NDArray[np.str_], known: list[str], rng: np.random.Generator) -> NDArray[np.object_]:
    """Draw for each label another one."""
    code_n = np.searchsorted(known, label_n)
    shifted = (code_n + rng.integers(1, len(known), len(code_n))) % len(known)
    others: NDArray[np.object_] = np.array(known, dtype=object)[shifted]
    return others
