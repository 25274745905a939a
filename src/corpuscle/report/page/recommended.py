"""Recommended: the page of a recommendation, from the tables in its folder; it needs nothing else."""

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from corpuscle.core.errors import FolderError
from corpuscle.core.paths import read_plain
from corpuscle.mixture.assessing import UTILITY
from corpuscle.report import numbers
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.mixture_figures import Forest, forest, front, predictions, recommended_set
from corpuscle.report.page.downloads import Downloads
from corpuscle.report.page.templates import environment
from corpuscle.store import write_text

ALPHA = 0.05
# Rows of a table on the page; the files have all.
MOST_ROWS = 40


@dataclass(frozen=True)
class RecommendationPage:
    """What the page shows.

    Attributes
    ----------
    document
        ``recommendation.json``.
    tables
        The CSV tables, by name.
    """

    document: dict[str, Any]
    tables: dict[str, pd.DataFrame]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Figures for the head of the page: a name and a value each."""
        facts, trials = self.document["facts"], self.tables["trials"]
        trained = trials.drop_duplicates(["mixture", "model", "seed"])
        shown = [("sources", str(len(facts["cells"]))), ("cells a corpus", f"{facts['n_cells']:,}")]
        shown += [("mixtures trained on", f"{trained['mixture'].nunique():,}"), ("trainings", f"{len(trained):,}")]
        shown += [("failed", str(len(facts["failed"])))] if facts["failed"] else []
        if facts["regret"] is not None:
            shown.append(("most that the best may lack, SD", numbers.number(facts["regret"], 2)))
        return shown

    @property
    def outputs(self) -> list[str]:
        """The outputs, the utility last."""
        card = self.tables.get("scorecard")
        return [] if card is None else [str(name) for name in card["output"]]

    @cached_property
    def figures(self) -> list[Figure]:
        """The figures that can be drawn."""
        found = [self._front(), self._set(), self._confirmation(), self._effects()]
        if (table := self.tables.get("predictions")) is not None and len(table):
            found.append(predictions(table, self.outputs, "mixture-predictions"))
        return [figure for figure in found if figure is not None]

    def _front(self) -> Figure | None:
        """Draw the two scores of the front that trade most, or the only two."""
        table = self.tables.get("front")
        if table is None or table.empty:
            return None
        outputs = [name.removesuffix(" low") for name in table if name.endswith(" low") and name[:-4] in table]
        pair = [*self.document["facts"]["ends"]] or outputs
        # Of more than two and no trade-off, there is no pair to show.
        if len(pair) != 2:
            return None
        marks = self.tables["predicted"].pivot_table(index="mixture", columns="output", values="mean")
        marks = marks.loc[[name for name in ("natural", "uniform") if name in marks.index]]
        ways = self.document["facts"]["better"]
        return front(table, (pair[0], pair[1]), marks, (ways[pair[0]], ways[pair[1]]), "mixture-front")

    def _set(self) -> Figure | None:
        ranges, mixtures = self.tables.get("credible_ranges"), self.tables["mixtures"].set_index("mixture")
        if ranges is None or ranges.empty:
            return None
        own = self.document["weights"]
        # Whole cells: what is recommended can be drawn.
        ranges = ranges.assign(best=[own.get(name, 0.0) for name in ranges["source"]]) if own else ranges
        sources = [name for name in ranges["source"] if name in mixtures]
        figure = recommended_set(ranges, mixtures[sources], "mixture-set")
        if "front" not in self.tables:
            return figure
        caption = (
            "Bars: the least and most that any mixture has of a source that is not shown to be dominated; dots: the "
            "balanced mixture."
        )
        return replace(figure, caption=caption)

    def _confirmation(self) -> Figure | None:
        table = self.tables["confirmation"]
        if table.empty:
            return None
        first = table[(table["output"] == UTILITY) & (table["mixture"] == table["mixture"].iloc[0])]
        roles: dict[str, list[str]] = {}
        for role, name in self.document["facts"]["rivals"].items():
            roles.setdefault(name, []).append(role)
        names = [_role(str(name), roles.get(str(name), [])) for name in first["rival"]]
        rows = pd.DataFrame({"name": names, "value": first["difference"], "low": first["low"], "high": first["high"],
                             "resolved": first["p_holm"] <= ALPHA})  # fmt: skip
        seeds = int(first["n_seeds"].max())
        about = Forest(
            "Against its rivals, on fresh seeds", "utility of the recommended mixture minus its rival's, SD",
            f"Means of {seeds} pairs of trainings on seeds that the search had not used, with cells drawn anew from "
            "the same sources, and their 95 % intervals; right of the line, the recommended mixture is better. Filled "
            "where the difference stands after Holm's correction over the rivals.",
        )  # fmt: skip
        return forest(rows, about, "mixture-confirmation")

    def _effects(self) -> Figure | None:
        table = self.tables.get("effects")
        if table is None or table.empty:
            return None
        table = table.sort_values("more", ascending=False, kind="stable")
        rows = pd.DataFrame({"name": table["source"], "value": table["more"], "low": table["more_low"],
                             "high": table["more_high"]})  # fmt: skip
        rows["resolved"] = (rows["low"] > 0) | (rows["high"] < 0)
        about = Forest(
            "What a tenth more of a source would do", "change of utility, SD",
            "As the surrogates see it: a tenth of the corpus is given to a source, and all others have less in "
            "proportion, from the recommended mixture (from natural proportions where there is none). Bars hold 90 % "
            "of draws; filled where they leave out 0. No training has tried these.",
        )  # fmt: skip
        return forest(rows, about, "mixture-effects")

    @property
    def scorecard(self) -> list[list[str]]:
        """Rows of the scorecard, as texts."""
        card = self.tables.get("scorecard")
        columns = [name for name in SCORECARD if card is not None and name in card]
        rows: list[list[str]] = [] if card is None else [
            [shown_value(value) for value in row] for row in card[columns].itertuples(index=False)
        ]  # fmt: skip
        return [[SCORECARD[name] for name in columns], *rows] if rows else []

    def rows(self, name: str) -> list[list[str]]:
        """Return a table's head and first rows, as texts; nothing where it is empty."""
        table = self.tables.get(name)
        if table is None or table.empty:
            return []
        head = [str(column).replace("_", " ") for column in table]
        return [head, *([shown_value(value) for value in row] for row in table.head(MOST_ROWS).itertuples(index=False))]


SCORECARD = {
    "output": "score", "unseen": "unseen", "rank_correlation": "ρ", "reliability": "reliable",
    "of_ceiling": "of ceiling", "held_out_rank_correlation": "held-out ρ", "held_out_of_ceiling": "of ceiling",
    "coverage": "in intervals",
    "held_out_coverage": "held out", "regret": "regret", "random_regret": "random", "reason": "why it is not ranked",
}  # fmt: skip


def render_recommendation(folder: Path) -> Path:
    """Write ``recommendation.html`` into the folder of a recommendation; the same tables give the same bytes.

    Raises
    ------
    FolderError
        When the folder has none, or a file in it cannot be read.
    """
    place = folder / "recommendation.json"
    try:
        document = json.loads(read_plain(place))
        tables = {name: pd.read_csv(folder / f"{name}.csv") for name in document["tables"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise FolderError(f"{folder}: holds no recommendation that can be read ({why}); run recommend again") from error
    page = folder / "recommendation.html"
    template = environment().get_template("recommendation.html.j2")
    write_text(page, template.render(page=RecommendationPage(document, tables), embed=Downloads()), flushed=False)
    return page


def _role(name: str, roles: list[str]) -> str:
    known = [role for role in roles if role != name]
    return f"{', '.join(known)} ({name})" if known else name


def shown_value(value: object) -> str:
    """Return a table's cell as text; nothing where it is not known."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return (
            ""
            if math.isnan(value)
            else str(int(value))
            if value.is_integer() and abs(value) > 1
            else numbers.number(value)
        )
    return "" if value is None else str(value)
