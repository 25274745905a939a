"""Tables of an overlap: matches, shares, and which copies would have been found.

Axes in names: N cells of both data sets.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.alone.overlap_inputs import Compared
from corpuscle.corpus.overlap import Copies
from corpuscle.corpus.overlap.marks import barcode_cores

KINDS = ("identical", "barcode", "near")
MATCHES = (
    "a", "cell_a", "row_a", "b", "cell_b", "row_b", "kind", "same_barcode", "n_detected", "n_agree", "n_genes",
    "chance", "n_equal",
)  # fmt: skip
# Bounds of numbers of detected genes, for the curve of detection.
GENES = (1, 25, 50, 100, 200, 400, 800, 1600, 3200)
# The least chance that is written: below, numbers end.
LEAST_CHANCE = 1e-300


def matches_between(copies: Copies, one: Compared, two: Compared) -> pd.DataFrame:
    """Return one row per match of cells of two data sets, or within one: the columns `MATCHES`, and places.

    Of equal cells, each of either data set is matched with one of the other.
    """
    side_N = _sides(copies, one, two)
    core_N, name_N = _names(one, two)
    near = copies.near.assign(n_equal=0)
    flip = side_N[near["one"]] > side_N[near["two"]]
    ends = {"one": near["one"].where(~flip, near["two"]), "two": near["two"].where(~flip, near["one"])}
    near = near.assign(**ends)
    near = near[(side_N[near["one"]] == 0) & (side_N[near["two"]] == int(one is not two))]
    near = near.astype({"same_barcode": bool, "evidence": float})
    equal = _of_groups(copies, side_N, core_N, within=one is two).astype(near.dtypes)
    found = pd.concat([equal, near], ignore_index=True)
    kind = np.select([found["identical"], found["same_barcode"]], KINDS[:2], KINDS[2])
    found = found.assign(kind=pd.Categorical(kind, KINDS, ordered=True))
    found = found.sort_values(["kind", "evidence"], ascending=[True, False], kind="stable")
    found = found.drop_duplicates(["one", "two"]).sort_values(["one", "two"], ignore_index=True)
    row_N = copies.cells.get_level_values("row").to_numpy(np.int64)
    for letter, data, end in (("a", one, "one"), ("b", two, "two")):
        at = found[end].to_numpy(np.int64)
        found = found.assign(**{letter: data.name, f"cell_{letter}": name_N[at], f"row_{letter}": row_N[at]})
    chance = np.maximum(np.exp(-found["evidence"].to_numpy(float)), LEAST_CHANCE)
    found = found.assign(chance=chance, kind=found["kind"].astype(str))
    whole = dict.fromkeys(("n_detected", "n_agree", "n_genes", "n_equal"), np.int64)
    return found.astype({**whole, "same_barcode": bool})[[*MATCHES, "one", "two"]]


def _sides(copies: Copies, one: Compared, two: Compared) -> NDArray[np.int64]:
    """Return of which data set each cell is, 0 or 1."""
    side = {part.name: at for at, data in enumerate(dict.fromkeys((one, two))) for part in data.parts}
    codes, names = pd.factorize(copies.cells.get_level_values("source"))
    found: NDArray[np.int64] = np.array([side[name] for name in names], np.int64)[codes]
    return found


def _names(one: Compared, two: Compared) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return the core of each cell's barcode as a number, -1 for none, and its name; of a corpus, with its source."""
    cores, names = [], []
    for data in dict.fromkeys((one, two)):
        for part in data.parts:
            barcodes = part.cells["barcode"].astype(str)
            cores += barcode_cores(barcodes.tolist())
            prefix = part.name.removeprefix(f"{data.name}/")
            names.append((barcodes if prefix == part.name else prefix + ":" + barcodes).to_numpy(object))
    codes = pd.factorize(pd.Series(cores, dtype=object).where(lambda core: core != "", None))[0]
    return codes.astype(np.int64), np.concatenate(names)


def _of_groups(copies: Copies, side_N: NDArray[np.int64], core_N: NDArray[np.int64], *, within: bool) -> pd.DataFrame:
    """Match the cells of each group of equal ones: those of one side in turn with those of the other."""
    cells = copies.identical.assign(
        side=side_N[copies.identical["cell"]], core=core_N[copies.identical["cell"]]
    ).sort_values(["group", "core", "cell"], kind="stable")
    sizes = cells.groupby("group")["cell"].transform("size")
    cells = cells.assign(n_equal=sizes, n_agree=cells["n_detected"])
    if within:
        first = cells.groupby("group")["cell"].transform("min")
        pairs = cells.assign(one=first, two=cells["cell"])[cells["cell"] != first]
    else:
        cells = cells.assign(turn=cells.groupby(["group", "side"]).cumcount())
        first, second = (cells[cells["side"] == side] for side in (0, 1))
        pairs = pd.concat(
            [_in_turn(first, second, "one", "two"), _in_turn(second, first, "two", "one")], ignore_index=True
        )
    same = (core_N[pairs["one"]] == core_N[pairs["two"]]) & (core_N[pairs["one"]] >= 0)
    columns = [*copies.near.columns, "n_equal"]
    return pairs.assign(identical=True, same_barcode=same)[columns].drop_duplicates(["one", "two", "n_genes"])


def _in_turn(cells: pd.DataFrame, others: pd.DataFrame, name: str, other_name: str) -> pd.DataFrame:
    """Match each cell of a group with one of the other side's, in turn."""
    n_others = others.groupby("group").size().rename("n_others")
    found = cells.merge(n_others, on="group")
    found = found.assign(turn=found["turn"] % found["n_others"]).rename(columns={"cell": name})
    partners = others[["group", "turn", "cell"]].rename(columns={"cell": other_name})
    return found.merge(partners, on=["group", "turn"])


def share_of(of: Compared, among: Compared, copies: Copies, matches: pd.DataFrame) -> dict[str, Any]:
    """Return which share of a data set's cells is among another's: a row of `Overlap.shares`."""
    sides = (of.name == matches["a"], "one"), (of.name == matches["b"], "two")
    seen = [matches.loc[here, [end, "kind"]].rename(columns={end: "place"}) for here, end in sides]
    table = pd.concat(seen, ignore_index=True)
    best = table.assign(rank=table["kind"].map({kind: at for at, kind in enumerate(KINDS)}))
    best = best.sort_values("rank", kind="stable").drop_duplicates("place")
    own = {part.name for part in of.parts}
    poor = copies.undecidable[copies.cells[copies.undecidable].get_level_values("source").isin(own)]
    n, times = len(of), best["kind"].value_counts()
    unknown = len(np.setdiff1d(poor, best["place"].to_numpy(np.int64)))
    near = table[table["kind"] != KINDS[0]]["place"].value_counts()
    return {
        "of": of.name, "among": among.name, "n_cells": n, **{kind: int(times.get(kind, 0)) / n for kind in KINDS},
        "unseen": (n - len(best) - unknown) / n, "unknown": unknown / n,
        "largest_group": int(matches["n_equal"].max()) if len(matches) else 0,
        "most_matches": int(near.max()) if len(near) else 0,
    }  # fmt: skip


def detection_table(copies: Copies, pairs: Sequence[tuple[Compared, Compared]]) -> pd.DataFrame:
    """Return which share of copies would have been found, by what they kept and by detected genes."""
    assert copies.detection is not None, "it was asked for"
    tables = []
    for of, among in dict.fromkeys(pairs):
        names = [{part.name for part in data.parts} for data in (of, among)]
        here = copies.detection[copies.detection["of"].isin(names[0]) & copies.detection["among"].isin(names[1])]
        bounds = pd.cut(here["n_detected"].astype(int), [*GENES, np.inf], right=False, labels=GENES).astype(int)
        found = here.assign(genes_from=bounds, found=here["found"].astype(float)).groupby(["kept", "genes_from"])[
            "found"
        ]
        table = found.agg(["size", "mean"]).reset_index().rename(columns={"size": "n_cells", "mean": "found"})
        upper = dict(zip(GENES, [*GENES[1:], np.inf], strict=True))
        table = table.assign(of=of.name, among=among.name, genes_to=table["genes_from"].map(upper))
        tables.append(table.sort_values(["kept", "genes_from"], ascending=[False, True]))
    columns = ["of", "among", "kept", "genes_from", "genes_to", "n_cells", "found"]
    return pd.concat(tables, ignore_index=True)[columns]
