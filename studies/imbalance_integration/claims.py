"""What the small runs say of the published claims on imbalance and integration."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from claim import Claim, Estimate, above, below, half_width, unless_confounded
from scipy import stats

from corpuscle import Results

SPLIT, OTHERS = "published split", "other batches"
# The 30 % of a type's cells that vote are 15 then, as many as the neighbours that are asked.
ENOUGH_ASKED = 35
ZERO_SHOT = ("geneformer", "scgpt")
# Which share of an altered type's cells is left of one batch.
KEPT = {"Down-sampled": 0.1, "Ablated": 0.0}
PUBLISHED = {
    "Down-sampled": "A type that is cut to a tenth in one of two batches has a lower k-NN F1.",
    "Ablated": "A type that is removed from one of two batches has a lower k-NN F1.",
}


def claims(runs: dict[str, Results]) -> list[Claim]:
    """Return the claims, from the runs of ``small.toml``, ``small_foundation.toml`` and ``small_natural.toml``."""
    altered, foundation, natural = (runs[name].scores for name in ("small", "small_foundation", "small_natural"))
    return [
        *(_drop(altered, corpus, n_of_type=40) for corpus in PUBLISHED),
        _relatedness(altered, "six"),
        *_regressions(natural),
        _worst_type(altered),
        _unstable_type(altered, "CD14 Mono"),
        _zero_shot_drop(foundation),
        _fine_tuned(foundation, "F1", "Fine-tuned foundation models have the lowest k-NN F1."),
        _fine_tuned(foundation, "clusters", "Fine-tuned foundation models do not cluster by type."),
    ]


def richer(run: Results) -> list[Claim]:
    """Return the claims that ``richer.toml`` has two real batches for."""
    is_natural = run.scores["corpus"] == "Natural"
    altered, natural = run.scores[~is_natural], run.scores[is_natural]
    return [
        *(_drop(altered, corpus, n_of_type=80) for corpus in PUBLISHED),
        _relatedness(altered, "five"),
        *_regressions(natural),
        _worst_type(altered),
        _unstable_type(altered, "MNP"),
    ]


def _f1(scores: pd.DataFrame, way: str = SPLIT) -> pd.DataFrame:
    """Return the rows of F1 of each type, on one of its two splits."""
    return scores[(scores["metric"] == "knn_f1") & (scores["way"] == way)]


def _drops(scores: pd.DataFrame, corpus: str, way: str = SPLIT) -> pd.DataFrame:
    """Return what the altered types of a corpus have more than the same types of the control, a row each."""
    rows = _f1(scores, way)
    here, control = rows[(rows["corpus"] == corpus) & rows["about_altered"]], rows[rows["corpus"] == "Control"]
    both = here.merge(control, on=["model", "seed", "unit"], suffixes=("", "_control"))
    return both.assign(drop=both["value"] - both["value_control"])


def _by_seed(drops: pd.DataFrame) -> "pd.Series[float]":
    return drops.groupby("seed")["drop"].mean()


def _drop(scores: pd.DataFrame, corpus: str, *, n_of_type: int) -> Claim:
    """Compare with the control; it has `n_of_type` cells of each type in each of two batches."""
    left = n_of_type + int(KEPT[corpus] * n_of_type)
    drop = Estimate.of(_by_seed(_drops(scores, corpus)))
    halved = _by_seed(_drops(scores, "Halved in both"))
    fewer, beyond = Estimate.of(halved), Estimate.of(_by_seed(_drops(scores, corpus)) - halved)
    across = Estimate.of(_by_seed(_drops(scores, corpus, OTHERS)))
    return Claim(
        f"{corpus} in one batch",
        PUBLISHED[corpus],
        "F1 on the published split, altered type less that type in the control, mean of Harmony and scVI, over seeds",
        drop,
        unless_confounded(below(drop), still=beyond.below_zero, removed=fewer.below_zero),
        f"Where a type is halved in both batches, which leaves it {n_of_type} of {2 * n_of_type} cells (here {left}) "
        f"and no imbalance, the difference is {fewer}, from which this one differs by {beyond}. On the published "
        f"split, cells of a type's own batch vote, too; where only other batches do, the difference is {across}.",
    )


def _relatedness(scores: pd.DataFrame, n_types: str) -> Claim:
    drops = pd.concat([_drops(scores, corpus) for corpus in ("Down-sampled", "Ablated")])
    distance = scores[(scores["metric"] == "centre_distance") & (scores["corpus"] == "Control")]
    both = drops.merge(distance, on=["model", "seed", "unit"], suffixes=("", "_of"))
    of_seed = both.groupby("seed")[["value_of", "drop"]].mean()
    slope = _line(of_seed["value_of"].to_numpy(), of_seed["drop"].to_numpy())
    return Claim(
        "A near type makes it worse",
        "The altered type's F1 falls more where another type is near it.",
        "slope of the change in F1 on the altered type's least distance of centres in the control, over seeds",
        slope,
        above(slope),
        f"Of {slope.n} draws of a type among {n_types}; the distances are of few cells.",
    )


def _line(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Return the slope of a line through points, with the interval of least squares."""
    if len(x) < 3 or np.ptp(x) == 0:
        return Estimate(np.nan, np.nan, np.nan, len(x))
    found = stats.linregress(x, y)
    half = half_width(found.stderr, len(x) - 2)
    return Estimate(found.slope, found.slope - half, found.slope + half, len(x))


def _regressions(scores: pd.DataFrame) -> list[Claim]:
    """Return the two published regressions over types, each also with the other's variable held equal."""
    wide = scores[scores["metric"].isin(("log2_support", "centre_distance"))].pivot_table(
        index=["model", "seed", "unit"], columns="metric", values="value"
    )
    table = _f1(scores).set_index(["model", "seed", "unit"])["value"].rename("f1").to_frame().join(wide).dropna()
    what = {"log2_support": "log2 of its cells", "centre_distance": "the least distance of its centre from another's"}
    published = {
        "log2_support": (
            "F1 rises with support",
            "F1 ~ method + log2 support: a type with more cells has a higher F1.",
        ),
        "centre_distance": (
            "F1 rises with distance",
            "F1 ~ method + least distance of centres: a type that is far from others has a higher F1.",
        ),
    }
    found = []
    for name, other in (("log2_support", "centre_distance"), ("centre_distance", "log2_support")):
        slopes = [
            _slopes(table, [name]),
            _slopes(table, [name, other]),
            _slopes(table[table["log2_support"] >= np.log2(ENOUGH_ASKED)], [name]),
        ]
        alone, equal, of_many = (Estimate.of(one) for one in slopes)
        still = equal.above_zero and of_many.above_zero
        removed = any(Estimate.of(slopes[0] - one).above_zero for one in slopes[1:])
        found.append(
            Claim(
                *published[name],
                f"slope of F1 (published split) on {what[name]}, method held equal, over types, for each seed",
                alone,
                unless_confounded(above(alone), still=still, removed=removed),
                f"With {what[other]} held equal, too: {equal}. Of types with 15 voting cells or more, as many as the "
                f"neighbours that are asked: {of_many}.",
            )
        )
    return found


def _slopes(table: pd.DataFrame, names: Sequence[str]) -> "pd.Series[float]":
    """Return the slope of F1 on the first of some variables, the others and the method held equal, for each seed."""
    slopes = {}
    for seed, of_seed in table.groupby("seed"):
        centred = of_seed - of_seed.groupby("model").transform("mean")
        slopes[seed] = np.linalg.lstsq(centred[[*names]].to_numpy(), centred["f1"].to_numpy(), rcond=None)[0][0]
    return pd.Series(slopes, dtype=float)


def _worst_type(scores: pd.DataFrame) -> Claim:
    of_type = _f1(scores).groupby(["seed", "unit"])["value"].mean().unstack()
    natural_killers = of_type.pop("cell_type=NK")
    less = Estimate.of(natural_killers - of_type.min(axis=1))
    lowest = str(of_type.mean().idxmin()).removeprefix("cell_type=")
    return Claim(
        "NK cells are worst",
        "Of the types of two batches, NK cells have the lowest F1 (poster).",
        "F1 of NK cells less that of the lowest other type, published split, mean of corpora and methods, over seeds",
        less,
        below(less),
        f"Of the others, {lowest} has the lowest mean, next to which NK cells are, as in the published data.",
    )


def _unstable_type(scores: pd.DataFrame, monocytes: str) -> Claim:
    """Compare how far ranks scatter, of the type that has the CD14 monocytes and of the others."""
    of_seed = [_instability(scores, way, monocytes) for way in ("published", "signed")]
    named = "CD14 monocytes" if monocytes == "CD14 Mono" else f"{monocytes} (all monocytes and dendritic cells)"
    published, signed, more = (Estimate.of(one) for one in (*of_seed, of_seed[0] - of_seed[1]))
    return Claim(
        "Markers of CD14 monocytes are least stable",
        "Over replicates, ranks of the markers of CD14 monocytes scatter most (poster).",
        f"distance of a marker's rank from its mean in the other seeds, {named} less the highest other type",
        published,
        unless_confounded(above(published), still=signed.above_zero, removed=more.above_zero),
        f"By signed scores, in which genes that go down are no markers and ties share a rank: {signed}.",
    )


def _instability(scores: pd.DataFrame, way: str, asked: str) -> "pd.Series[float]":
    """Return for each seed how much more the ranks of one type scatter than those of the least stable other type."""
    rows = scores[scores["unit"].str.startswith("marker=") & (scores["way"] == way)]
    kind = rows["unit"].str.removeprefix("marker=").str.rsplit(": ", n=1).str[0]
    group = rows.groupby(["model", "corpus", "unit"])["value"]
    n, total = group.transform("count"), group.transform("sum")
    elsewhere = (total - rows["value"]) / (n - 1).where(n > 1)
    enough = n >= rows["seed"].nunique() / 2
    away = (rows["value"] - elsewhere).abs()[enough]
    of_type = away.groupby([rows["seed"][enough], kind[enough]]).mean().unstack()
    if asked not in of_type:
        return pd.Series(dtype=float)
    of_asked = of_type.pop(asked)
    # The type that scatters most over all seeds: the highest of each seed would be another each time.
    highest = of_type[of_type.mean().idxmax()] if of_type.notna().any(axis=None) else of_type.mean(axis=1)
    return of_asked - highest


def _zero_shot_drop(scores: pd.DataFrame) -> Claim:
    rows = _drops(scores[scores["model"].isin((*ZERO_SHOT, "transcriptformer"))], "Ablated")
    drop = Estimate.of(_by_seed(rows))
    return Claim(
        "Foundation models lose it, too",
        "Zero-shot, foundation models have a lower F1 of a type that is rare in one batch (poster).",
        "F1 on the published split, ablated type less the same type of the control, mean of three models, over seeds",
        drop,
        "no verdict",
        "Networks of seconds of training, whose F1 is low in the control already. Numbers of cells are not held equal "
        "here, as they are for Harmony and scVI.",
    )


def _fine_tuned(scores: pd.DataFrame, what: str, published: str) -> Claim:
    """Compare models with the adversary alone, and with all losses, with those without either."""
    rows = scores[scores["corpus"] == "Control"]
    if what == "F1":
        rows, metric = _f1(rows), "mean F1 of types (published split)"
    else:
        rows = rows[(rows["metric"] == "balanced_ari") & (rows["way"] == "Leiden 1") & (rows["unit"] == "all")]
        metric = "balanced ARI of Leiden clusters and types"
    of_model = rows.groupby(["seed", "model"])["value"].mean().unstack()
    of_adversary = {name: of_model[f"{name}, adversary alone"] - of_model[name] for name in ZERO_SHOT}
    of_all = of_model["scgpt, integrated"] - of_model["scgpt"]
    alone, whole = Estimate.of(sum(of_adversary.values()) / len(ZERO_SHOT)), Estimate.of(of_all)
    less = Estimate.of(of_adversary["scgpt"] - of_all)
    return Claim(
        f"Fine-tuned worst, by {what}",
        published,
        f"{metric}, adversary alone less zero-shot, mean of Geneformer and scGPT, control, over seeds",
        alone,
        unless_confounded(below(alone), still=whole.below_zero, removed=less.below_zero),
        f"The published head trained by its adversary alone. With all six losses, scGPT less zero-shot has {whole}.",
    )
