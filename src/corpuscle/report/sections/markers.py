"""Markers: how far the places of marker genes scatter over seeds, corpora × types."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.statistics.marker_ranks import by_type


class MarkerTable(NamedTuple):
    """Deviations of places, mean over a type's markers.

    Attributes
    ----------
    target, model, way
        Of which scores; see `corpuscle.evaluation.tasks.markers`.
    types
        The columns.
    rows
        For each corpus its name and, for each type, the deviation as a number and in words.
    """

    target: str
    model: str
    way: str
    types: list[str]
    rows: list[tuple[str, list[tuple[float, str]]]]


def marker_tables(ranks: pd.DataFrame, corpora: Sequence[str]) -> list[MarkerTable]:
    """Lay out what `corpuscle.statistics.marker_ranks.marker_ranks` found, for the corpora that are shown."""
    found = []
    for (target, model, way), here in ranks.groupby(["target", "model", "way"], sort=False, observed=True):
        table = by_type(here)
        if table.notna().any(axis=None):
            types = [str(kind) for kind in table.columns]
            rows = [
                (corpus, [(value, _shown(value)) for value in table.loc[corpus].to_numpy(float).tolist()])
                for corpus in corpora
                if corpus in table.index
            ]
            found.append(MarkerTable(str(target), str(model), str(way), types, rows))
    return found


def _shown(value: float) -> str:
    return numbers.number(value) if math.isfinite(value) else "n/a"
