"""What the corpora are, as tables: a row a measure, a column a corpus, means over seeds.

No measure is known here: rows of the table of measures say what they are called, and what they mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.sections.bar_table import Axis, BarCell, BarColumn, BarRow, BarTable, bar
from corpuscle.statistics.intervals import seed_interval

# Rows that are of one of these are shown together, in this order; rows that are of something else have its name.
TITLES = {
    "cell_type": "Cell types",
    "cell_ontology": "Cell types",
    **dict.fromkeys(("donor", "tissue", "disease", "study", "source"), "Other labels"),
    "components": "Cells and genes",
    "genes": "Cells and genes",
}
# A summary with more columns is wider than a screen.
MOST_COLUMNS = 9


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


def summary_table(
    measures: pd.DataFrame, corpora: Sequence[str], baseline: str, overlaps: Mapping[str, float] | None = None
) -> BarTable | None:
    """Lay out as bars the first measure of each kind, and how far the corpora reach every target.

    Returns
    -------
    BarTable
        None where nothing was measured.
    """
    titles = measures["of"].map(lambda of: TITLES.get(of, _named(of)))
    own = measures[measures["headline"] & measures["value"].notna() & (measures["target"] == "")].assign(kind=titles)
    first = own.drop_duplicates("kind")
    reach = measures[(measures["figure"] == "reach") & (measures["size"] == "equal") & measures["value"].notna()]
    reach = reach[reach["measure"] == next(iter(reach["measure"]), "")]
    chosen = [
        *(
            (_named(str(row["kind"])), str(row["title"]) or _named(str(row["measure"])), own[_is(own, row)], "positive")
            for _, row in first.iterrows()
        ),
        *((f"{_title(reach)} of each target", str(target), here, "share")
          for target, here in reach.groupby("target", sort=False)),
    ]  # fmt: skip
    if not chosen:
        return None
    shared = {corpus: (overlaps or {}).get(corpus, 0.0) for corpus in corpora}
    columns, cells = [], []
    for group, name, table, scale in chosen[:MOST_COLUMNS]:
        means = pd.DataFrame({corpus: _mean(table, corpus, overlap) for corpus, overlap in shared.items()}).T
        axis = Axis.of(scale, means.to_numpy(float).ravel().tolist())
        columns.append(BarColumn(group, name, str(table["better"].iloc[0]), axis, str(table["meaning"].iloc[0])))
        cells.append([BarCell([bar(row, axis, str(corpus))], float(row["mean"])) for corpus, row in means.iterrows()])
    rows = [BarRow(corpus, [], [column[at] for column in cells], []) for at, corpus in enumerate(corpora)]
    return BarTable(columns, rows, [], [], [], baseline)


def _is(table: pd.DataFrame, row: pd.Series) -> "pd.Series[bool]":
    """Return which rows are of the same measure."""
    return (table[["measure", "of", "size"]] == row[["measure", "of", "size"]]).all(axis=1)


def _title(reach: pd.DataFrame) -> str:
    return next(iter(reach["title"]), "") or "Reach"


def _mean(table: pd.DataFrame, corpus: str, overlap: float) -> dict[str, float]:
    """Return a measure's mean over seeds, with its interval."""
    found = seed_interval(table.loc[table["corpus"] == corpus, "value"].to_numpy(float), overlap=overlap)
    return dict(zip(("mean", "low", "high"), found[:3], strict=True))
