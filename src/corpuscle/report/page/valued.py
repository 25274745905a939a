"""Valued: the page of a valuation of sources, from the tables in its folder; it needs nothing else."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from corpuscle.core.errors import FolderError
from corpuscle.core.paths import read_plain
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.mixture_figures import Forest, forest
from corpuscle.report.page.downloads import Downloads
from corpuscle.report.page.recommended import shown_value
from corpuscle.report.page.templates import environment
from corpuscle.store import write_text

# Rows of a table on the page; the files have all.
MOST_ROWS = 60
# Outputs that have a figure of their own.
MOST_FIGURES = 12
# The output that holds all others, as `corpuscle.oracle.valuation` names it.
UTILITY = "(utility)"
TABLES = {
    "source_values": "Values by source and score",
    "source_interactions": "Interactions of two sources",
    "source_fit": "How well sums of values predict left-out subsets",
}


@dataclass(frozen=True)
class ValuationPage:
    """What the page shows.

    Attributes
    ----------
    document
        ``valuation.json``.
    tables
        The CSV tables, by name.
    """

    document: dict[str, Any]
    tables: dict[str, pd.DataFrame]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Figures for the head of the page: a name and a value each."""
        trials, subsets = self.tables["source_trials"], self.tables["source_subsets"]
        found = [("sources", str(subsets.shape[1] - 1)), ("subsets", f"{len(subsets):,}")]
        found += [("trainings", f"{len(trials):,}"), ("proxy", str(self.document["proxy"]))]
        return [*found, *([("failed", str(len(self.document["failed"])))] if self.document["failed"] else [])]

    @cached_property
    def figures(self) -> list[Figure]:
        """A forest plot for each way and score, the utility first."""
        values = self.tables["source_values"]
        outputs = list(dict.fromkeys(values["output"]))
        found = []
        for at, output in enumerate([*outputs[-1:], *outputs[:-1]][:MOST_FIGURES]):
            for way, meaning in self.document["ways"].items():
                here = values[(values["way"] == way) & (values["output"] == output)]
                rows = pd.DataFrame({
                    "name": here["source"], "value": here["banzhaf"], "low": here["banzhaf_low"],
                    "high": here["banzhaf_high"],
                }).sort_values("value", ascending=False, kind="stable")  # fmt: skip
                rows["resolved"] = (rows["low"] > 0) | (rows["high"] < 0)
                name = "All that counts" if output == UTILITY else str(output)
                unit = "utility, SD over subsets," if output == UTILITY else str(output)
                about = Forest(
                    f"{name}: {way}", f"how much better {unit} is with the source",
                    f"Banzhaf values where {meaning}: the mean over all subsets of the other sources, with 95 % "
                    "intervals; right of the line, scores are better with the source. Filled where the interval "
                    "leaves out 0.",
                )  # fmt: skip
                found.append(forest(rows, about, f"value-{way}-{at}"))
        return found

    def rows(self, name: str) -> list[list[str]]:
        """Return a table's head and first rows, as texts; of interactions, those that hold, if any do."""
        table = self.tables[name]
        if name == "source_interactions":
            table = table[table["meaning"].notna() & (table["meaning"] != "")]
        if table.empty:
            return []
        head = [str(column).replace("_", " ") for column in table]
        return [head, *([shown_value(value) for value in row] for row in table.head(MOST_ROWS).itertuples(index=False))]

    @property
    def titles(self) -> dict[str, str]:
        """The tables that are shown, by name."""
        return TABLES


def render_valuation(folder: Path) -> Path:
    """Write ``valuation.html`` into the folder of a valuation; the same tables give the same bytes.

    Raises
    ------
    FolderError
        When the folder has none, or a file in it cannot be read.
    """
    try:
        document = json.loads(read_plain(folder / "valuation.json"))
        tables = {name: pd.read_csv(folder / f"{name}.csv") for name in document["tables"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise FolderError(f"{folder}: holds no valuation that can be read ({why}); run value again") from error
    page = folder / "valuation.html"
    template = environment().get_template("valuation.html.j2")
    write_text(page, template.render(page=ValuationPage(document, tables), embed=Downloads()), flushed=False)
    return page
