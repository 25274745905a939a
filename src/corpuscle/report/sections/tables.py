"""Tables of what went into a run: quality and corpora, without any markup."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class SourceQuality:
    """Cells of one source: all of them, how many were kept, and why the others were not."""

    source: str
    total: int
    kept: int
    dropped: list[tuple[str, int]]

    @property
    def share(self) -> float:
        """Share of the cells that were kept, 0 to 1."""
        return self.kept / self.total if self.total else 0.0


def quality(sources: pd.DataFrame) -> list[SourceQuality]:
    """Count per source the cells kept and, most frequent first, the reasons for the others."""
    found = []
    for source, group in sources.groupby("source", sort=False):
        counts = group.groupby("reason", sort=False)["n_cells"].sum()
        dropped = counts.drop("kept", errors="ignore")
        dropped = dropped[dropped > 0].sort_values(ascending=False, kind="stable")
        reasons = [(str(reason), int(count)) for reason, count in dropped.items()]
        found.append(SourceQuality(str(source), int(counts.sum()), int(counts.get("kept", 0)), reasons))
    return found


@dataclass(frozen=True)
class CorpusRow:
    """One corpus: its size and richness (ranges over seeds where they differ), and its recipe."""

    name: str
    size: str
    richness: dict[str, str]
    recipe: str


# How composition tables name cells whose label is not known.
MISSING = "(missing)"
RICHNESS = {"cell_type": "Cell types", "tissue": "Tissues", "donor": "Donors", "study": "Studies"}


def corpus_rows(
    composition: pd.DataFrame, recipes: dict[str, dict[str, object]], corpora: Sequence[str]
) -> list[CorpusRow]:
    """Describe each corpus: cells, number of distinct cell types, tissues, donors, studies, and its recipe."""
    recorded = set(composition["column"])
    sizes = composition.groupby(["corpus", "column", "seed"])["n_cells"].sum()
    known = composition[(composition["n_cells"] > 0) & (composition["value"] != MISSING)]
    distinct = known.groupby(["corpus", "column", "seed"])["value"].nunique()
    size_of = {str(name): _range(here) for name, here in sizes.groupby("corpus")}
    richness_of = {key: _range(here) for key, here in distinct.groupby(["corpus", "column"])}
    rows = []
    for name in corpora:
        recipe = recipes.get(name, {})
        stated = recipe.get("n_cells")
        size = size_of.get(name) or (f"{stated:,}" if isinstance(stated, int) else "not recorded")
        richness = {RICHNESS[c]: richness_of.get((name, c), "–") for c in RICHNESS if c in recorded}
        rows.append(CorpusRow(name, size, richness, str(recipe.get("recipe", "not recorded"))))
    return rows


def _range(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
