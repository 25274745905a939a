"""Gene residuals: which genes a model gets wrong on a target, and which of them the corpus is to blame for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from corpuscle.report import numbers
from corpuscle.statistics.comparisons import differences
from corpuscle.statistics.over_runs import GROUP, Overlaps, over_seeds

# What the metrics of a table are in its figure; see `corpuscle.core.scores.Figure`.
PARTS = ("observed", "expected", "residual")
COLUMNS = ["corpus", "gene"]
# Counts per 10,000, observed: a relative residual is a quotient by this, so of genes below it nothing is ranked. It is
# a count in 100,000: ten in 500 cells of 2,000 counts.
FLOOR = 0.1
# A median absolute deviation is this share of a standard deviation, of normal values.
MAD = 0.6745


@dataclass(frozen=True)
class GeneResiduals:
    """Residuals of one model on one target.

    Attributes
    ----------
    table
        One row per (corpus, gene): ``observed`` and ``expected`` (means over target cells and seeds, counts per
        10,000), ``residual`` with ``low`` and ``high`` ((observed - expected) / observed; positive: predicted too
        low), ``n_seeds``, ``difference`` of it from the baseline with
        ``difference_low`` and ``difference_high`` (paired by seed), ``standardised`` (see `_standardised`),
        ``shift`` and ``reason``.
    story
        The genes whose prediction moved furthest from the baseline's; the corpora take turns in naming them. None is
        observed below `FLOOR`.
    metrics
        The names of the metrics that are observed, expected and residual.
    """

    model: str
    target: str
    baseline: str
    corpora: list[str]
    story: list[str]
    table: pd.DataFrame = field(repr=False)
    metrics: dict[str, str] = field(repr=False)

    def of(self, corpus: str) -> pd.DataFrame:
        """Rows of one corpus."""
        return self.table[self.table["corpus"] == corpus]

    def worst(self, corpus: str, n_genes: int = 12) -> pd.DataFrame:
        """Genes that a corpus gets most wrong, by the error on the log1p scale."""
        here = _expressed(self.of(corpus))
        error = (np.log1p(here["observed"]) - np.log1p(here["expected"])).abs()
        return here.loc[error.sort_values(ascending=False, kind="stable").index].head(n_genes)

    def moved(self, corpus: str, n_genes: int = 12) -> pd.DataFrame:
        """Genes whose prediction moved furthest from the baseline's; none for the baseline itself."""
        here = _expressed(self.of(corpus)).dropna(subset=["shift"])
        here = here[here["shift"] != 0]
        return here.loc[here["shift"].abs().sort_values(ascending=False, kind="stable").index].head(n_genes)

    @property
    def n_barely(self) -> int:
        """How many genes are observed, and below `FLOOR`."""
        here = self.table[(self.table["observed"] > 0) & (self.table["observed"] < FLOOR)]
        return int(here["gene"].nunique())

    def imagined(self, n_genes: int = 5) -> list[tuple[str, float, str, float]]:
        """Genes observed below `FLOOR` and predicted tenfold above it: (gene, observed, corpus, predicted), most first.

        A relative residual says nothing of them, and yet they are what a model adds to a target.
        """
        here = self.table[(self.table["observed"] < FLOOR) & (self.table["expected"] >= 10 * FLOOR)]
        most = here.sort_values("expected", ascending=False, kind="stable").drop_duplicates("gene").head(n_genes)
        return [
            (str(row["gene"]), float(row["observed"]), str(row["corpus"]), float(row["expected"]))
            for _, row in most.iterrows()
        ]

    @property
    def undefined(self) -> list[tuple[str, int]]:
        """Reasons for which genes have no relative residual, with the number of genes."""
        missing = self.table[self.table["residual"].isna()]
        counts = missing.groupby("reason", sort=False)["gene"].nunique()
        return [(str(reason), int(count)) for reason, count in counts.items()]

    @property
    def most_moved(self) -> str:
        """The corpus whose ten furthest genes moved most; empty without a comparison."""
        totals = {c: self.moved(c, 10)["shift"].abs().sum() for c in self.corpora if c != self.baseline}
        return max(totals, key=lambda c: totals[c]) if totals and max(totals.values()) > 0 else ""


def gene_residuals(
    scores: pd.DataFrame,
    baseline: str,
    corpora: Sequence[str],
    targets: Sequence[str],
    overlaps: Overlaps | None = None,
) -> list[GeneResiduals]:
    """Collect gene residuals, one `GeneResiduals` per model and target that has any.

    ``shift`` is how far the prediction moved from the baseline's, log1p(cp10k) of the corpus minus that of the
    baseline, paired by seed and averaged. Genes are ranked by its size and not by the difference in relative
    residual, which for a gene with hardly any counts is large and means nothing.
    """
    rows = scores[scores["unit"].str.startswith("gene=") & scores["figure"].isin(PARTS)]
    if rows.empty:
        return []
    rows = rows[rows["version"] == rows.groupby("metric")["version"].transform("max")]
    rows = rows.assign(name=rows["metric"], metric=rows["figure"])
    found = []
    for model, task in rows[["model", "task"]].drop_duplicates().itertuples(index=False):
        for target in targets:
            here = rows[(rows["model"] == model) & (rows["task"] == task) & (rows["target"] == target)]
            if len(here):
                metrics = dict(zip(here["metric"], here["name"], strict=True))
                table = _table(here, baseline, overlaps)
                present = [name for name in corpora if name in set(table["corpus"])]
                story = _story(table)
                found.append(GeneResiduals(str(model), target, baseline, present, story, table, metrics))
    return found


def _table(rows: pd.DataFrame, baseline: str, overlaps: Overlaps | None) -> pd.DataFrame:
    """Summarise the residual rows of one model and target, one row per corpus and gene."""
    summary = over_seeds(rows, overlaps=overlaps)
    summary["gene"] = summary["unit"].str.removeprefix("gene=")
    means = summary.pivot_table(index=COLUMNS, columns="metric", values="mean", sort=False, dropna=False)
    table = means.reindex(columns=list(PARTS))
    relative = summary[summary["metric"] == "residual"].set_index(COLUMNS)
    table = table.join(relative[["low", "high", "n_seeds", "reason"]])
    changes = differences(rows[rows["metric"] == "residual"], baseline, overlaps=overlaps)
    changes["gene"] = changes["unit"].str.removeprefix("gene=")
    wanted = ["difference", "difference_low", "difference_high"]
    table = table.join(changes.set_index(COLUMNS)[wanted]).join(_shift(rows, baseline))
    table["reason"] = table["reason"].fillna("no relative residual recorded")
    return _standardised(table.reset_index(), baseline)


def _standardised(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Add ``standardised``: log1p observed minus log1p predicted (per 10,000) in standard deviations.

    The standard deviation is what is usual of the baseline's genes at or above `FLOOR`: the median absolute deviation
    from 0 over 0.6745. Unlike a relative residual it is as wide for genes of few counts as for others: the logarithm of
    one more than a mean hardly changes where the mean is near 0.
    """
    error = np.log1p(table["observed"].clip(lower=0)) - np.log1p(table["expected"].clip(lower=0))
    usual = error[(table["corpus"] == baseline) & (table["observed"] >= FLOOR)].abs().median() / MAD
    return table.assign(standardised=error / usual if usual > 0 else np.nan)


def _expressed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the genes that are observed at or above `FLOOR`."""
    return table[table["observed"] >= FLOOR]


def _shift(rows: pd.DataFrame, baseline: str) -> pd.Series:
    """Mean change of the prediction against the baseline, log1p(cp10k), per corpus and gene."""
    predicted = rows[rows["metric"] == "expected"].copy()
    predicted["value"] = np.log1p(predicted["value"].clip(lower=0))
    change = differences(predicted, baseline)[[*GROUP, "difference"]]
    change["gene"] = change["unit"].str.removeprefix("gene=")
    return change.set_index(COLUMNS)["difference"].rename("shift")


def _story(table: pd.DataFrame, n_genes: int = 20) -> list[str]:
    """Genes whose prediction moved furthest; the corpora take turns, so that a very different one leaves room."""
    size = _expressed(table).dropna(subset=["residual"])
    size = size.assign(size=size["shift"].abs()).query("size > 0")
    size["turn"] = size.groupby("corpus")["size"].rank(ascending=False, method="first")
    ordered = size.sort_values(["turn", "size"], ascending=[True, False], kind="stable")
    return [str(gene) for gene in ordered["gene"].drop_duplicates().head(n_genes)]


@dataclass(frozen=True)
class GeneCell:
    """One cell of the gene table: a relative and a standardised residual, the colour and everything in words."""

    value: str
    standardised: str
    tone: str
    weight: float
    resolved: bool
    tip: str


def gene_grid(found: GeneResiduals) -> list[tuple[str, str, list[GeneCell]]]:
    """Lay the story's genes out as (gene, observed cp10k, one cell per corpus)."""
    table = found.table.set_index(["gene", "corpus"])
    grid = []
    for gene in found.story:
        observed = table.loc[gene]["observed"].mean()
        cells = [_gene_cell(table, gene, corpus) for corpus in found.corpora]
        grid.append((gene, numbers.number(float(observed), 2), cells))
    return grid


def _gene_cell(table: pd.DataFrame, gene: str, corpus: str) -> GeneCell:
    if (gene, corpus) not in table.index:
        return GeneCell("n/a", "", "neutral", 0, resolved=False, tip="no score")
    row = table.loc[(gene, corpus)]
    residual = float(row["residual"])
    if not np.isfinite(residual):
        return GeneCell("n/a", "", "neutral", 0, resolved=False, tip=str(row["reason"]))
    tip = (
        f"{gene}, {corpus}: observed {numbers.number(row['observed'])}, predicted "
        f"{numbers.number(row['expected'])} per 10,000; relative residual {numbers.signed(residual)}; "
        f"difference from the baseline {numbers.signed(float(row['difference']))}"
    )
    resolved = float(row["difference_low"]) > 0 or float(row["difference_high"]) < 0
    tone, weight = _gene_tone(residual, residual - float(row["difference"])) if resolved else ("neutral", 0.0)
    return GeneCell(relative(residual), numbers.signed(float(row["standardised"]), 1), tone, weight, resolved, tip)


def _gene_tone(residual: float, base: float) -> tuple[str, float]:
    """Return the colour of a residual next to the baseline's: cool where it is nearer to 0; and how strong it is."""
    nearer = abs(base) - abs(residual)
    return "neutral" if nearer == 0 else "cool" if nearer > 0 else "warm", min(1.0, abs(nearer))


def relative(residual: float) -> str:
    """Write a relative residual; what is predicted more than tenfold is written as the number of times.

    Examples
    --------
    >>> relative(0.5), relative(-1.2), relative(-36.4)
    ('+0.50', '−1.20', '37-fold')
    """
    return f"{1 - residual:,.0f}-fold" if residual < -9 else numbers.signed(residual)
