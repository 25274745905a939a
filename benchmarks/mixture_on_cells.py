"""How well mixtures of real cells are predicted, from the folder that `corpuscle recommend` and `advise` have left.

    corpuscle recommend studies/mixture.toml -o mixture            # about 45 minutes on two idle cores
    corpuscle advise studies/mixture.toml --candidate pilot.h5ad -o mixture
    python benchmarks/mixture_on_cells.py mixture

Trials of the search are split 40 times: a third of the mixtures that were drawn (neither single sources nor usual ones)
is left out, the rest is learnt from. For each score with enough reliability of the left-out mixtures (0.75):

- Spearman's correlation of left-out mixtures with their prediction, over the root of the reliability;
- whether the one that is expected to be the best is within two standard errors of the one that was;
- the share of left-out runs in their 90 % intervals, and how wide these are, in standard deviations of mixtures.

Then what the folder itself says: comparisons on fresh seeds, and what known sources add, predicted against trained.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from corpuscle.mixture import Utility, fit
from corpuscle.mixture.ranking import rank_correlation, reliability
from corpuscle.mixture.table import Table, laid_out

RELIABLE = 0.75
N_SPLITS = 40
KEYS = {"mixture", "model", "seed", "stage"}


class _Output(NamedTuple):
    """One score of the runs that were left out, what was predicted of them, and the score of all runs."""

    actual_R: np.ndarray
    said_R: np.ndarray
    low_R: np.ndarray
    high_R: np.ndarray
    all_R: np.ndarray


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", type=int, default=N_SPLITS)
    asked = parser.parse_args()
    facts = json.loads((asked.folder / "recommendation.json").read_text())
    print(f"{facts['advice']}\n{facts['next']}\nTrainings: {facts['facts']['runs']}\n")
    splits = _splits(asked.folder, facts["facts"]["proxy"], asked.splits)
    table = splits.groupby("output", sort=False).mean()
    print(table.round(3).to_string())
    good = table[(table["reliability"] >= RELIABLE) & (table.index != "(utility)")]
    print(f"\nMean of {len(good)} scores with a reliability of {RELIABLE} or more, of {len(table) - 1}")
    print(good.mean().round(3).to_string())
    print(f"\nOn fresh seeds\n{_confirmed(asked.folder).round(3).to_string()}")
    if (asked.folder / "known_sources.csv").exists():
        print(f"\nWhat known sources add, predicted as if nobody had trained on them: {_left_out(asked.folder)}")


def _splits(folder: Path, proxy: str, n_splits: int) -> pd.DataFrame:
    """Return what each split shows of each output."""
    trials = pd.read_csv(folder / "trials.csv")
    searched = trials["stage"].isin(["gate", "design"]) | trials["stage"].str.startswith("round-")
    trials = trials[searched & (trials["model"] == proxy)].drop_duplicates(["mixture", "seed"])
    outputs = [name for name in trials.columns if name not in KEYS]
    mixtures = pd.read_csv(folder / "mixtures.csv", index_col="mixture")
    sources = [name for name in mixtures.columns if name not in {"n_cells", "unique_cells", "most_repeats"}]
    drawn = [name for name in trials["mixture"].unique() if str(name).startswith(("mixed", "held out"))]
    parts = []
    for seed in range(n_splits):
        rng = np.random.default_rng(seed)
        out = trials["mixture"].isin(rng.choice(drawn, len(drawn) // 3, replace=False)).to_numpy()
        weights = mixtures.loc[trials["mixture"], sources].reset_index(drop=True)
        parts.append(_split(weights, trials[outputs].reset_index(drop=True), out).assign(split=seed))
    return pd.concat(parts, ignore_index=True).drop(columns="split")


def _split(weights: pd.DataFrame, scores: pd.DataFrame, out_R: np.ndarray) -> pd.DataFrame:
    """Learn from some runs, and test on the others."""
    fitted = fit(weights[~out_R], scores[~out_R], better="higher")
    test = laid_out(weights[out_R].reset_index(drop=True), scores[out_R].reset_index(drop=True), "higher")
    whole = laid_out(weights, scores, "higher")
    mean_RO, low_RO, high_RO = map(np.asarray, fitted.predict(test.weights_RK))
    utility = Utility()
    columns = {
        name: _Output(test.scores_RO[:, at], mean_RO[:, at], low_RO[:, at], high_RO[:, at], whole.scores_RO[:, at])
        for at, name in enumerate(test.outputs)
    }
    none_R = np.full(len(mean_RO), np.nan)
    columns["(utility)"] = _Output(
        *(utility.of(fitted.table, one_RO) for one_RO in (test.scores_RO, mean_RO)), none_R, none_R,
        utility.of(fitted.table, whole.scores_RO),
    )  # fmt: skip
    return pd.DataFrame([{"output": name, **_tested(test, whole, one)} for name, one in columns.items()])


def _tested(test: Table, whole: Table, one: _Output) -> dict[str, float]:
    """Return what a split shows of one score."""
    actual_M, said_M = (test.means_MO(values_R[:, None])[:, 0] for values_R in (one.actual_R, one.said_R))
    # Noise of a run: within all mixtures, as those that are left out are few.
    known = np.isfinite(one.all_R)
    group = whole.mixture_R[known]
    n_M = np.bincount(group, minlength=whole.n_mixtures)
    means_M = np.bincount(group, one.all_R[known], whole.n_mixtures) / np.maximum(n_M, 1)
    within = ((one.all_R[known] - means_M[group]) ** 2).sum() / max(known.sum() - (n_M > 0).sum(), 1)
    runs_M = np.bincount(test.mixture_R[np.isfinite(one.actual_R)], minlength=test.n_mixtures)
    best, pick = int(np.nanargmax(actual_M)), int(np.nanargmax(np.where(np.isfinite(actual_M), said_M, -np.inf)))
    error = np.sqrt(within * (1 / runs_M[best] + 1 / runs_M[pick])) if best != pick else 0.0
    reliable = reliability(test, one.actual_R)
    found, _ = rank_correlation(said_M, actual_M)
    inside = (one.low_R <= one.actual_R) & (one.actual_R <= one.high_R)
    spread = float(np.sqrt(max(np.nanvar(actual_M, ddof=1), 1e-300)))
    return {
        "reliability": reliable, "correlation": found,
        "of_ceiling": found / np.sqrt(reliable) if reliable > 0 else np.nan,
        "within_two_se": float(actual_M[best] - actual_M[pick] <= 2 * error),
        "held": float(inside.mean()) if np.isfinite(one.low_R).any() else np.nan,
        "width_in_sd": float(np.mean(one.high_R - one.low_R)) / spread,
    }  # fmt: skip


def _confirmed(folder: Path) -> pd.DataFrame:
    """Return the recommended mixture's comparisons."""
    facts = json.loads((folder / "recommendation.json").read_text())["facts"]
    table = pd.read_csv(folder / "confirmation.csv")
    if table.empty:
        return table
    mine = table[table["mixture"] == facts["contenders"][0]]
    roles: dict[str, list[str]] = {}
    for role, name in facts["rivals"].items():
        roles.setdefault(name, []).append(role)
    return mine.assign(rival=[" = ".join(roles.get(name, [name])) for name in mine["rival"]]).drop(columns="mixture")


def _left_out(folder: Path) -> dict[str, float]:
    """Return how known sources were predicted."""
    known = pd.read_csv(folder / "known_sources.csv")
    sure = known[known["value"].abs() > 2 * known["se"]]
    half = (known["high"] - known["low"]) / 2
    off = (known["predicted"] - known["value"]).abs()
    return {
        "values": len(known), "beyond two standard errors": len(sure),
        "sign right of these": round(float((np.sign(sure["predicted"]) == np.sign(sure["value"])).mean()), 3),
        "in 90 % interval": round(float((off <= half).mean()), 3),
        "within two standard errors of training": round(float((off <= 2 * known["se"]).mean()), 3),
    }  # fmt: skip


if __name__ == "__main__":
    main()
