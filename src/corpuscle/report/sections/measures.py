"""What the corpora are, as tables: a row a measure, a column a corpus, means over seeds.

No measure is known here: rows of the table of measures say what they are called, and what they mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.statistics.intervals import seed_interval

# Rows that are of one of these are shown together, in this order; rows that are of something else have its name.
TITLES = {
    "cell_type": "Cell types",
    "cell_ontology": "Cell types",
    **dict.fromkeys(("donor", "tissue", "disease", "study", "source"), "Other labels"),
    "components": "Cells and genes",
    "genes": "Cells and genes",
}


class Shown(NamedTuple):
    """One cell of a table: the mean over seeds, half its interval, and everything in words."""

    value: str
    spread: str
    tip: str


@dataclass(frozen=True)
class MeasureRow:
    """A measure of every corpus."""

    label: str
    meaning: str
    cells: list[Shown]


class Section(NamedTuple):
    """A table of measures, and why values are missing."""

    title: str
    rows: list[MeasureRow]
    notes: list[str]


def sections(
    measures: pd.DataFrame, corpora: Sequence[str], overlaps: Mapping[str, float] | None = None
) -> list[Section]:
    """Lay the measures out: by what they are of, then against each target.

    A measure is shown where its rows of any corpus are headlines. Intervals are widened by what draws of two seeds have
    in common.
    """
    shared = {corpus: (overlaps or {}).get(corpus, 0.0) for corpus in corpora}
    titles = measures["of"].map(lambda of: TITLES.get(of, _named(of)))
    titles = titles.where(measures["target"] == "", "Against " + measures["target"])
    is_of_corpus = dict.fromkeys(titles[measures["target"] == ""])
    order = [*(title for title in dict.fromkeys(TITLES.values()) if title in is_of_corpus), *is_of_corpus, *titles]
    found = [_section(title, measures[titles == title], shared) for title in dict.fromkeys(order)]
    return [section for section in found if section.rows or section.notes]


def _named(name: str) -> str:
    """Write a name as a title."""
    return f"{name[:1].upper()}{name[1:]}".replace("_", " ")


def _section(title: str, here: pd.DataFrame, shared: Mapping[str, float]) -> Section:
    rows: list[MeasureRow] = []
    missing: dict[tuple[str, str], list[str]] = {}
    sizes = here[here["headline"] & here["value"].notna()].groupby(["measure", "of"])["size"].nunique()
    for (name, of, size), table in here.groupby(["measure", "of", "size"], sort=False):
        shown = table[table["headline"]]
        if shown.empty:
            continue
        label = shown["title"].iloc[0] or _named(str(name))
        if size == "own" and sizes.get((name, of), 0) > 1:
            label += ", all its cells"
        if shown["value"].notna().any():
            shown = table
            cells = [_shown(table[table["corpus"] == corpus], corpus, overlap) for corpus, overlap in shared.items()]
            rows.append(MeasureRow(label, _meaning(table.iloc[0]), cells))
        for reason, lacking in shown[shown["value"].isna()].groupby("reason", sort=False):
            missing.setdefault((", ".join(lacking["corpus"].unique()), str(reason)), []).append(label)
    notes = [f"{', '.join(labels)} of {corpora}: {reason}" for (corpora, reason), labels in missing.items()]
    return Section(title, rows, notes)


def _meaning(row: pd.Series) -> str:
    direction = numbers.DIRECTIONS.get(row["better"], "") if row["better"] != "none" else ""
    return " ".join(part for part in (row["meaning"], direction and f"{direction.capitalize()}.") if part)


def _shown(here: pd.DataFrame, corpus: str, overlap: float) -> Shown:
    """Write a measure of one corpus: its mean over seeds, and the interval of that."""
    mean, low, high, n_seeds = seed_interval(here["value"].to_numpy(float), overlap=overlap)
    if not n_seeds:
        return Shown("n/a", "", "; ".join(here["reason"].unique()) or "not measured")
    parts = [f"{corpus}: {numbers.number(mean, 4)}, {numbers.plural(n_seeds, 'seed')}"]
    parts.append(f"of {numbers.plural(int(here['n_cells'].median()), 'cell')}")
    donors = here.dropna(subset=["low"])
    if len(donors):
        first = donors.iloc[0]
        ends = f"{numbers.number(first['low'], 4)} to {numbers.number(first['high'], 4)}"
        parts.append(f"95 % interval over donors, seed {first['seed']}: {ends}")
    value = f"{mean:,.0f}" if mean == round(mean) else numbers.number(mean)
    return Shown(value, numbers.spread((high - low) / 2, value=mean), "; ".join(parts))
