"""Gene sets: which sets latents stand for, sets × corpora and latent by latent; and in which sets residuals stand."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.statistics.gene_sets import FOUND_AT, best_sets, strongest

# How many sets and latents a table of the page has, and how many genes of a leading edge; the CSV has all.
MOST_SETS, MOST_LATENTS, MOST_GENES = 20, 60, 8


class SetRow(NamedTuple):
    """A set over corpora.

    Attributes
    ----------
    name, found
        The set, and which share of its genes was ranked, in words.
    cells
        For each corpus its name, the NES as a number and in words, at how many seeds it was found, and the strength of
        its colour, 0 to 1.
    """

    name: str
    found: str
    cells: list[tuple[str, float, str, str, float]]


class TiedLatent(NamedTuple):
    """A latent and the set that it stands for, as the page shows them."""

    corpus: str
    seed: int
    latent: str
    set: str
    nes: str
    fdr: str
    genes: str


class SetTable(NamedTuple):
    """What one model's loadings, or residuals, say of sets on a target.

    Attributes
    ----------
    task, target, model, way
        Of which scores; see `corpuscle.evaluation.tasks.gene_sets`. `task` is empty where there is one.
    corpora
        The columns.
    rows
        The sets that are found most often and surest.
    n_sets
        How many were asked about.
    latents
        Latents that are tied to a set, with their best one; none for residuals.
    n_tied, n_latents
        How many are tied, and how many there are, over corpora and seeds.
    """

    task: str
    target: str
    model: str
    way: str
    corpora: list[str]
    rows: list[SetRow]
    n_sets: int
    latents: list[TiedLatent]
    n_tied: int
    n_latents: int


def gene_set_tables(table: pd.DataFrame, corpora: Sequence[str]) -> list[SetTable]:
    """Lay out what `corpuscle.statistics.gene_sets.gene_set_table` found, for the corpora that are shown."""
    table = table[table["corpus"].isin(corpora)]
    several = table["task"].nunique() > 1
    found = []
    for (task, target, model, way), here in table.groupby(
        ["task", "target", "model", "way"], sort=False, observed=True
    ):
        over = strongest(here)
        if over.empty:
            continue
        known = [corpus for corpus in corpora if corpus in set(over["corpus"])]
        best = best_sets(here)
        tied = best[best["fdr"] <= FOUND_AT] if way == "loadings" else best[:0]
        named = str(task) if several else ""
        place = (named, str(target), str(model), str(way), known)
        latents = _tied(tied, known)
        found.append(SetTable(*place, _rows(over, known), over["set"].nunique(), latents, len(tied), len(best)))
    return found


def _rows(over: pd.DataFrame, corpora: Sequence[str]) -> list[SetRow]:
    """Return the sets found at most seeds, those furthest from 0 first."""
    order = over.assign(size=over["nes"].abs()).groupby("set", observed=True)
    order = order.agg(n_found=("n_found", "sum"), size=("size", "max"), share=("share_found", "mean"))
    order = order.sort_values(["n_found", "size"], ascending=False, kind="stable")[:MOST_SETS]
    at = over.set_index(["set", "corpus"])
    return [
        SetRow(str(name), _percent(share), [_cell(at, str(name), corpus) for corpus in corpora])
        for name, share in order["share"].items()
    ]


def _cell(at: pd.DataFrame, name: str, corpus: str) -> tuple[str, float, str, str, float]:
    if (name, corpus) not in at.index:
        return corpus, math.nan, "n/a", "", 0.0
    row = at.loc[(name, corpus)]
    n_found, n_seeds = int(row["n_found"]), int(row["n_seeds"])
    return corpus, float(row["nes"]), numbers.number(row["nes"]), f"{n_found} of {n_seeds}", n_found / n_seeds


def _tied(tied: pd.DataFrame, corpora: Sequence[str]) -> list[TiedLatent]:
    """Return latents by corpus and seed, as many as the page shows."""
    order = tied.assign(at=tied["corpus"].map({name: at for at, name in enumerate(corpora)}).astype(int))
    order = order.sort_values(["at", "seed"], kind="stable")[:MOST_LATENTS]
    return [
        TiedLatent(
            str(row["corpus"]), int(row["seed"]), str(row["vector"]), str(row["set"]),
            numbers.number(row["nes"]), _rate(float(row["fdr"])), _first(str(row["leading_genes"])),
        )
        for row in order.to_dict("records")
    ]  # fmt: skip


def _first(genes: str) -> str:
    some = genes.split(", ")
    return ", ".join(some[:MOST_GENES]) + (f" and {len(some) - MOST_GENES} more" if len(some) > MOST_GENES else "")


def _rate(value: float) -> str:
    return numbers.number(value, 2)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else ""
