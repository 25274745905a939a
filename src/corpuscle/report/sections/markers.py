"""Markers: how far the places of marker genes scatter over seeds, corpora × types."""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import pandas as pd

from corpuscle.core.scores import listed_labels
from corpuscle.report import numbers
from corpuscle.statistics.marker_ranks import by_type

# The deviation at which the colour is full, in places: as in the published heat maps, which were cut there.
FULL = 10.0
# Of more altered types, a row says how many they are.
MOST_NAMED = 3


class MarkerRow(NamedTuple):
    """A row of the heat map.

    Attributes
    ----------
    corpus, altered
        The corpus, and the types that its steps changed the number of in the seeds of this row; empty: none, or not the
        same in all seeds.
    cells
        For each type its name, the deviation as a number and in words, and the strength of its colour, 0 to 1.
    """

    corpus: str
    altered: list[str]
    cells: list[tuple[str, float, str, float]]

    @property
    def altered_in_words(self) -> str:
        """Name the altered types, or count them where they are many."""
        return ", ".join(self.altered) if len(self.altered) <= MOST_NAMED else f"{len(self.altered):,} types"


class MarkerTable(NamedTuple):
    """Deviations of places, mean over a type's markers.

    Attributes
    ----------
    target, model, way
        Of which scores; see `corpuscle.evaluation.tasks.markers`.
    types
        The columns.
    rows
        The corpora in the order of the report, each with the types that were altered in it.
    """

    target: str
    model: str
    way: str
    types: list[str]
    rows: list[MarkerRow]

    @property
    def shows_altered(self) -> bool:
        """Whether a type that was altered has a column."""
        return any(label in self.types for row in self.rows for label in row.altered)


def marker_tables(ranks: pd.DataFrame, corpora: Sequence[str]) -> list[MarkerTable]:
    """Lay out what `corpuscle.statistics.marker_ranks.marker_ranks` found, for the corpora that are shown."""
    found = []
    for (target, model, way), here in ranks.groupby(["target", "model", "way"], sort=False, observed=True):
        table = by_type(here)
        if table.notna().any(axis=None):
            types = [str(kind) for kind in table.columns]
            known = [corpus for corpus in corpora if corpus in table.index]
            rows = [_row(corpus, altered, one) for corpus in known for altered, one in table.loc[corpus].iterrows()]
            found.append(MarkerTable(str(target), str(model), str(way), types, rows))
    return found


def _row(corpus: str, altered: Hashable, deviations: pd.Series) -> MarkerRow:
    cells = [(str(kind), float(value), _shown(value), _weight(value)) for kind, value in deviations.items()]
    return MarkerRow(corpus, listed_labels(str(altered)), cells)


def _weight(value: float) -> float:
    return min(1.0, value / FULL) if math.isfinite(value) else 0.0


def _shown(value: float) -> str:
    return numbers.number(value) if math.isfinite(value) else "n/a"
