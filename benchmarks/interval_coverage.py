"""How often intervals hold what they are about: nominal 95 %, by simulation; and what a bootstrap would do and take.

    python benchmarks/interval_coverage.py                 # the table of docs/statistics.md: minutes
    python benchmarks/interval_coverage.py --tables 20000  # more exact
    python benchmarks/interval_coverage.py --only skewed   # skewed scores that no scale straightens
    python benchmarks/interval_coverage.py --only speed    # 10,000 draws over 50 corpora × 10 runs × 50 donors

Scores are made up of a corpus' mean, a part of the run, a part of the donor and a rest, whose standard deviations are
in the ratios that `SHARES` lists, four of them measured. They are normal on the logit scale, around 0.8, so that the
scores, which are shares, are skewed. With fewer than five donors, intervals are over runs and about these donors; else
about new runs and new donors. Printed, in percent: how often the interval of a mean, and that of a difference from a
baseline, hold the true value; the same of a difference for the pigeonhole bootstrap's percentiles and for its
studentised interval.
"""

import argparse
import time

import numpy as np
from scipy import special

from corpuscle.statistics.scales import interval_of
from corpuscle.statistics.two_way import FEWEST_DONORS, mean_squares, two_way

SEEDS, DONORS = (3, 5, 10), (1, 5, 20)
# Standard deviations of run, donor and rest, in units of 0.1 on the logit scale. The last four are what differences in
# R² (log), and the last in R², had between corpora of a glioblastoma of five patients, in five runs.
SHARES = {
    "runs alone": (1.0, 0.0, 0.0),
    "runs, donors, rest alike": (1.0, 1.0, 1.0),
    "LDVAE, more cells": (1.0, 0.4, 0.55),
    "LDVAE, sketched": (0.45, 1.0, 0.5),
    "scVI, sketched": (0.0, 1.0, 0.5),
    "scVI, more cells": (0.0, 0.2, 1.0),
}
BOOTSTRAPPED = 300


def made_up(shape: tuple[int, int, int], parts: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Return tables × runs × donors of what is added to a mean, on the logit scale."""
    n_tables, n_runs, n_donors = shape
    run, donor, rest = (0.1 * part for part in parts)
    return (
        run * rng.normal(size=(n_tables, n_runs, 1))
        + donor * rng.normal(size=(n_tables, 1, n_donors))
        + rest * rng.normal(size=shape)
    )


def covered(values_TRD: np.ndarray, truth: float, kind: str) -> float:
    """Return the share of tables whose interval holds the truth."""
    n_runs, n_donors = values_TRD.shape[1:]
    if n_donors < FEWEST_DONORS:
        over_T = values_TRD.mean(axis=2)
        mean, error, df = over_T.mean(1), over_T.std(1, ddof=1) / np.sqrt(n_runs), np.full(len(over_T), n_runs - 1)
    else:
        mean, error, df = two_way(values_TRD)
    low, high = interval_of(mean, error, df, np.full(mean.shape, kind, object))
    return 100 * float(np.mean((low <= truth) & (truth <= high)))


def draws(values_RD: np.ndarray, n_draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each draw of the pigeonhole bootstrap takes each run, and each donor."""
    n_runs, n_donors = values_RD.shape[-2:]
    return (
        rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=n_draws).astype(float),
        rng.multinomial(n_donors, np.full(n_donors, 1 / n_donors), size=n_draws).astype(float),
    )


def bootstrapped(values_RD: np.ndarray, truth: float, rng: np.random.Generator) -> tuple[bool, bool]:
    """Return whether the percentile interval and the studentised one hold the truth, of one table."""
    n_runs, n_donors = values_RD.shape
    times_BR, times_BD = draws(values_RD, 1000, rng)
    run_BR, donor_BD = times_BD @ values_RD.T / n_donors, times_BR @ values_RD / n_runs
    mean_B = (times_BR * run_BR).sum(1) / n_runs
    low, high = np.quantile(mean_B, [0.025, 0.975])
    of_runs = n_donors * (times_BR * (run_BR - mean_B[:, None]) ** 2).sum(1) / (n_runs - 1)
    of_donors = n_runs * (times_BD * (donor_BD - mean_B[:, None]) ** 2).sum(1) / (n_donors - 1)
    error_B = np.sqrt(np.maximum(of_runs + of_donors, 1e-18) / values_RD.size)
    mean = values_RD.mean()
    a, b, _ = mean_squares(values_RD)
    error = np.sqrt((a + b) / values_RD.size)
    below, above = np.quantile((mean_B - mean) / error_B, [0.025, 0.975])
    return bool(low <= truth <= high), bool(mean - above * error <= truth <= mean - below * error)


def coverage(n_tables: int) -> None:
    rng = np.random.default_rng(0)
    print("| runs | donors | what differs | mean | difference | percentile bootstrap | studentised bootstrap |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for n_runs in SEEDS:
        for n_donors in DONORS:
            for name, parts in SHARES.items():
                if n_donors < FEWEST_DONORS and name != "runs alone":
                    continue
                centre = special.logit(0.8)
                one, other = (special.expit(centre + made_up((n_tables, n_runs, n_donors), parts, rng)) for _ in "ab")
                # What is true: the mean over all runs and donors there could be.
                scatter = 0.1 * np.sqrt(np.square(parts).sum())
                truth = float(special.expit(centre + scatter * rng.normal(size=2_000_000)).mean())
                difference = one - other
                held = (covered(one, truth, "share"), covered(difference, 0.0, "share difference"))
                boots = "| – | – |"
                if n_donors >= FEWEST_DONORS:
                    found = np.mean([bootstrapped(table, 0.0, rng) for table in difference[:BOOTSTRAPPED]], axis=0)
                    boots = f"| {100 * found[0]:.0f} | {100 * found[1]:.0f} |"
                print(f"| {n_runs} | {n_donors} | {name} | {held[0]:.1f} | {held[1]:.1f} {boots}", flush=True)


def skewed(n_tables: int) -> None:
    """Print how often the interval of a mean holds the truth where all effects are gamma-distributed (shape 2)."""
    rng = np.random.default_rng(0)
    for n_runs in SEEDS:
        for n_donors in DONORS[1:]:
            for name, parts in SHARES.items():
                shapes = ((n_tables, n_runs, 1), (n_tables, 1, n_donors), (n_tables, n_runs, n_donors))
                effects = (part * (rng.gamma(2, size=shape) - 2) for part, shape in zip(parts, shapes, strict=True))
                held = covered(sum(effects, start=np.zeros(shapes[2])), 0.0, "real")
                print(f"{held:.1f} %: {n_runs} runs, {n_donors} donors, {name}", flush=True)


def speed() -> None:
    """Time 10,000 draws of the pigeonhole bootstrap, paired across corpora, and the closed form of the same error."""
    rng = np.random.default_rng(0)
    values_CRD = rng.normal(size=(50, 10, 50))
    started = time.process_time()
    times_BR, times_BD = draws(values_CRD, 10_000, rng)
    found_BC = np.empty((10_000, 50))
    for corpus, values_RD in enumerate(values_CRD):
        found_BC[:, corpus] = ((times_BD @ values_RD.T) * times_BR).sum(1) / values_RD.size
    bootstrap = time.process_time() - started
    started = time.process_time()
    two_way(values_CRD)
    print(f"10,000 draws over 50 corpora × 10 runs × 50 donors: {bootstrap:.2f} s of processor time;")
    print(f"the closed form: {1000 * (time.process_time() - started):.2f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=4000, help="tables per line of the table")
    parser.add_argument("--only", choices=["coverage", "skewed", "speed"], help="measure this alone")
    asked = parser.parse_args()
    if asked.only in (None, "coverage"):
        coverage(asked.tables)
    if asked.only == "skewed":
        skewed(asked.tables)
    if asked.only in (None, "speed"):
        speed()
