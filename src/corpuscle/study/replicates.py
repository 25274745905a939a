"""Replicates: what the seeds of a study repeat. How much of its pool a draw takes, and what two draws share."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.recipe import Recipe
from corpuscle.study.spec import Study

COLUMNS = ("corpus", "source", "n_cells", "pool", "share", "overlap")
# Draws that take more of their pool than this are warned of.
LARGE_SHARE = 0.2
NAMED_AT_MOST = 3


def draw_facts(recipe: Recipe, pools: Mapping[str, Corpus], draws: Sequence[Corpus]) -> pd.DataFrame:
    """Return how much of each source's pool a corpus' draws take, and what two of them have in common.

    Parameters
    ----------
    recipe
        The corpus' recipe.
    pools
        For each source, the cells that training may use.
    draws
        What was drawn, a corpus a seed; at least one.

    Returns
    -------
    One row per source: ``corpus``, ``source``, ``n_cells`` (distinct ones, mean over seeds), ``pool`` (what there was
    to draw from), ``share`` (of the pool), and ``overlap``, which share of its cells a draw has in common with another
    seed's; NaN with one seed. With uniform draws it is near ``share``; a sampler that takes all cells of rare types
    has more.
    """
    offered: dict[str, dict[str, int]] = {}
    for entry in draws[0].account:
        if "part" in entry:
            offered.setdefault(entry["source"], {}).setdefault(entry.get("only", ""), entry["from"])
    rows = []
    for source in recipe.sources:
        tables = [draw.cells.loc[draw.cells["source"] == source, ["row", "times"]] for draw in draws]
        n_cells, groups = float(np.mean([len(table) for table in tables])), offered.get(source, {})
        pool = groups.get("", min(sum(groups.values()), len(pools[source]))) if groups else len(pools[source])
        share, overlap = n_cells / pool if pool else np.nan, draw_overlap([table.to_numpy() for table in tables])
        rows.append((recipe.name, source, n_cells, pool, share, overlap))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def draw_overlap(draws: Sequence[NDArray[np.int64]]) -> float:
    """Return which share of its cells a draw has in common with another, on average over pairs of draws.

    It is the correlation of two draws' means of what independent cells contribute.

    Parameters
    ----------
    draws
        For each, its cells' rows and how often each is used, shape (n, 2).

    Examples
    --------
    >>> one, other = np.array([[3, 1], [7, 1]]), np.array([[3, 1], [8, 1]])
    >>> draw_overlap([one, other]), draw_overlap([one, one])
    (0.5, 1.0)
    """
    if len(draws) < 2:
        return float("nan")
    row_U, times_U = np.concatenate(draws).T.astype(np.int64)
    within = float(np.square(times_U, dtype=np.float64).sum())
    if not within:
        return float("nan")
    _, cell_U = np.unique(row_U, return_inverse=True)
    total = float(np.square(np.bincount(cell_U, weights=times_U)).sum())
    return (total - within) / within / (len(draws) - 1)


def replicate_warnings(
    study: Study, draws: pd.DataFrame, corpora: Mapping[tuple[str, int], Corpus]
) -> Iterator[tuple[str, str, str]]:
    """Yield what keeps a study's seeds from being replicates: its corpus (empty: the study), the key, and why."""
    n_seeds = len(study.draws)
    if n_seeds == 1:
        yield (
            "",
            "seeds",
            "with one seed nothing has an interval: no difference can be distinguished from chance; 3 or more do",
        )
        return
    alike = [name for name in dict.fromkeys(draws["corpus"]) if _is_one_draw(study, name, draws, corpora)]
    if alike:
        yield alike[0], "", _one_draw(study, alike, n_seeds)
    large = draws[(draws["share"] > LARGE_SHARE) & ~draws["corpus"].isin(alike)]
    if len(large):
        largest = large.loc[large.groupby("corpus", sort=False)["share"].idxmax()]
        named = [
            f"{row.corpus} {row.share:.0%} of {row.source} ({row.n_cells:,.0f} of {row.pool:,})"
            for row in largest.itertuples()
        ]
        yield (
            large["corpus"].iloc[0],
            "",
            (
                f"a seed draws more than {LARGE_SHARE:.0%} of a pool, so seeds share cells and scatter too little: "
                f"{_listed(named)}. Reports widen intervals for that; ask for fewer cells, or give more to draw from"
            ),
        )


def _is_one_draw(study: Study, name: str, draws: pd.DataFrame, corpora: Mapping[tuple[str, int], Corpus]) -> bool:
    """Return whether a corpus is the same at every seed."""
    if not (draws.loc[draws["corpus"] == name, "overlap"] > 1 - 1e-9).all():
        return False
    found = [corpora[name, seed].fingerprint for seed in study.draws if (name, seed) in corpora]
    return len(found) > 1 and len(set(found)) == 1


def _one_draw(study: Study, corpora: Sequence[str], n_seeds: int) -> str:
    """Return what follows where corpora are the same at every seed."""
    fixed = [model.label for model in study.models if not model.model.uses_seed]
    random = [model.label for model in study.models if model.model.uses_seed]
    follows = []
    if fixed:
        follows.append(
            f"with {_listed(fixed)} (no randomness), the {n_seeds} seeds are one replicate and have no interval"
        )
    if random:
        follows.append(f"with {_listed(random)}, intervals are about these cells only, not about their sources")
    return f"every seed draws the same cells ({_listed(corpora)}): {'; '.join(follows)}. Ask for fewer cells"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more
