"""What the small runs say of DenAdel et al. 2026; docs/published/size_and_diversity.md states the rules."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from claim import MARGIN, Claim, Estimate, above, below, difference, no_gain, no_loss, unless_confounded, values

from corpuscle import Results
from corpuscle.statistics.ladders import saturation
from corpuscle.statistics.saturation import published_rule

# The published saturation point is where 95 % of the best are reached.
REST = 0.05
SIZES = {2: 24, 10: 120, 25: 300, 50: 600, 100: 1200}
ZERO_SHOT = {"task": "annotation", "target": "pbmc", "metric": "accuracy", "way": "5 nearest"}
FINE_TUNED = {"task": "annotation, fine-tuned", "target": "pbmc", "metric": "accuracy", "way": "frozen"}
NETWORKS = ("scvi", "masked_autoencoder")
NAMES = {"scvi": "scVI", "masked_autoencoder": "the autoencoder", "pca": "PCA"}
# Those of ``richer.toml``, and its three targets; their mean is called so.
RICHER_SIZES = {1: 100, 5: 500, 10: 1000, 25: 2500, 50: 5000, 100: 10_000}
UNSEEN = ("pbmc3k", "pbmc4k", "sorted")
ON_UNSEEN = {**ZERO_SHOT, "target": "mean of three unseen studies"}
RISES = {
    "scvi": "Micro-F1 of scVI rises from .915 to .926 from 1 to 100 %, epochs being scaled to equal steps.",
    "masked_autoencoder": "Micro-F1 of the autoencoder rises from .636 to .905 from 1 to 100 %, at equal epochs.",
}
PCA_AHEAD = (
    "Zero-shot micro-F1 on hematopoiesis is .921 of PCA on the corpus (.938 of PCA on the target), .926 of scVI and "
    ".905 of the autoencoder after all cells."
)


class Comparison(NamedTuple):
    """What was published of a measure of two corpora, and on which side of 0 their difference was."""

    name: str
    published: str
    measure: str
    corpus: str
    than: str
    of: str
    sign: int


SAMPLERS = (
    Comparison(
        "Re-weighting by type makes types more diverse",
        "Shannon entropy of types at 10 % is 7.31 bits re-weighted, 5.90 at random.",
        "shannon_bits", "Re-weighted 10 %", "Random 10 %", "cell_type", 1,
    ),
    Comparison(
        "Sketching makes cells more diverse",
        "Vendi score at 10 % is 256 sketched, 84.7 at random.",
        "vendi", "Sketch 10 %", "Random 10 %", "components", 1,
    ),
    Comparison(
        "Sketching makes types less even in large corpora",
        "Gini–Simpson index at 50 % is .9596 sketched, .9676 at random.",
        "gini_simpson", "Sketch 50 %", "Random 50 %", "cell_type", -1,
    ),
)  # fmt: skip
FOREIGN = Comparison(
    "Half foreign cells make a corpus less diverse",
    "Vendi score at 10 % is 71.1 with half Perturb-seq, 84.7 without.",
    "vendi", "Half foreign 10 %", "Random 10 %", "components", -1,
)  # fmt: skip


def claims(runs: dict[str, Results]) -> list[Claim]:
    """Return the claims, from the runs of the small files by their names."""
    steps, epochs = runs["small"].scores, runs["small_equal_epochs"].scores
    measures = pd.read_parquet(runs["small"].folder / "measures.parquet")
    return [
        _saturated(
            epochs, "masked_autoencoder", "25 %", ZERO_SHOT, "10, 25 and 10 % on hematopoiesis, at equal epochs"
        ),
        _saturated(epochs, "scvi", "10 %", FINE_TUNED, "1 %, once 10 %, after fine-tuning"),
        _one_number(steps, epochs),
        *(_steps(epochs, steps, model) for model in NETWORKS),
        *(_diversity(measures, one) for one in (*SAMPLERS, FOREIGN)),
        _no_help(steps, ZERO_SHOT, (2, 10, 50)),
        _foreign(steps),
        _pca(steps, epochs),
        _geneformer(runs["small_networks"].scores),
        *_perturbation(runs["small_perturbation"].scores),
        _integration(runs["small_integration"].scores),
    ]


def richer(run: Results) -> list[Claim]:
    """Return the claims that ``richer.toml`` has larger corpora for; all are at equal steps."""
    scores, measures = _with_mean(run.scores), pd.read_parquet(run.folder / "measures.parquet")
    published = "10, 25 and 10 % on hematopoiesis, at equal epochs"
    return [
        *(_saturated_at_steps(scores, model, published) for model in ("pca", *NETWORKS)),
        *(_more_cells(scores, model) for model in NETWORKS),
        *(_diversity(measures, one) for one in SAMPLERS),
        _no_help(scores, ON_UNSEEN, (1, 10, 50)),
        _pca_ahead(scores),
    ]


def _with_mean(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores, and the mean accuracy on the unseen studies as if they were one target."""
    asked = {**ON_UNSEEN, "unit": "all"}
    rows = scores[scores["target"].isin(UNSEEN)]
    for column in ("task", "metric", "way", "unit"):
        rows = rows[rows[column] == asked[column]]
    by_run = rows.groupby(["seed", "model", "corpus"], observed=True)["value"]
    means = by_run.agg(lambda of_targets: of_targets.mean(skipna=False)).reset_index()
    return pd.concat([scores, means.assign(**asked)], ignore_index=True)


def _gain(scores: pd.DataFrame, model: str, small: int, which: dict[str, str]) -> "pd.Series[float]":
    """Return what the largest random corpus has over a smaller one, seed by seed."""
    return _random(scores, model, 100, which) - _random(scores, model, small, which)


def _random(scores: pd.DataFrame, model: str, percent: int, which: dict[str, str]) -> "pd.Series[float]":
    return values(scores, **which, model=model, corpus=f"Random {percent} %")


def _saturated(
    scores: pd.DataFrame,
    model: str,
    size: str,
    which: dict[str, str],
    published: str,
    *,
    sizes: Mapping[int, int] = SIZES,
) -> Claim:
    percent = int(size.removesuffix(" %"))
    left = Estimate.of(_gain(scores, model, percent, which) / _random(scores, model, 100, which))
    how = "fine-tuned" if which is FINE_TUNED else "zero-shot"
    at = published_rule(*_points(scores, model, which, sizes))
    return Claim(
        f"{how[0].upper()}{how[1:]} annotation is saturated at {size} of the cells",
        f"The learning saturation point is {published}.",
        f"Share of the accuracy of {model}, {how}, that comes only beyond {sizes[percent]:,} of {sizes[100]:,} cells",
        left,
        below(left, REST),
        f"Seen where the interval ends below 5 %. The published rule gives {at:,.0f} cells. Our 100 % are "
        f"{sizes[100]:,} cells, in place of 22 million.",
    )


def _saturated_at_steps(scores: pd.DataFrame, model: str, published: str) -> Claim:
    claim = _saturated(scores, model, "25 %", ON_UNSEEN, published, sizes=RICHER_SIZES)
    curve = _curve(scores, model, ON_UNSEEN, RICHER_SIZES)
    return replace(
        claim,
        name=f"Annotation by {NAMES[model]} is saturated at 25 % of the cells",
        measured=f"{claim.measured}, mean of three unseen studies, equal steps",
        because=f"{claim.because} By means of seeds it gives {curve.means:,.0f}; with intervals the curve is "
        f"{curve.status}.",
    )


def _points(
    scores: pd.DataFrame, model: str, which: dict[str, str], sizes: Mapping[int, int]
) -> tuple[list[float], list[float]]:
    """Return the values of all single runs on random corpora, and the cells of each."""
    found = {cells: _random(scores, model, percent, which) for percent, cells in sizes.items()}
    return (
        [float(value) for one in found.values() for value in one],
        [float(cells) for cells, one in found.items() for _ in one],
    )


class Curve(NamedTuple):
    """A curve's saturation points: by the best single run, by seed means, and what can be said with an interval."""

    single: float
    means: float
    status: str


def _curve(scores: pd.DataFrame, model: str, which: dict[str, str], sizes: Mapping[int, int]) -> Curve:
    points = _points(scores, model, which, sizes)
    seeds = values(scores, **which, model=model, corpus="Random 100 %").index
    table = pd.DataFrame({"value": points[0], "seed": list(seeds) * len(sizes), "model": model})
    ours = saturation(table.assign(better="higher", scale="share"), points[1])
    return Curve(published_rule(*points), published_rule(*points, of_means=True), str(ours["status"].iloc[0]))


def _by_seed(scores: pd.DataFrame, model: str) -> "pd.Series[float]":
    """Return the published point of each seed's own five runs, as log10 of the cells."""
    table = pd.DataFrame({cells: _random(scores, model, percent, ZERO_SHOT) for percent, cells in SIZES.items()})
    return table.apply(lambda row: np.log10(published_rule(row.to_numpy(), row.index)), axis="columns")


def _one_number(steps: pd.DataFrame, epochs: pd.DataFrame) -> Claim:
    moved = Estimate.of(_mean(_by_seed(epochs, model) - _by_seed(steps, model) for model in NETWORKS))
    curves = [
        *(_curve(steps, model, ZERO_SHOT, SIZES) for model in ("pca", *NETWORKS)),
        *(_curve(epochs, model, ZERO_SHOT, SIZES) for model in NETWORKS),
    ]
    words = "; ".join(f"{one.single:,.0f}, {one.means:,.0f}, {one.status}" for one in curves)
    stays = moved.low > -0.1 and moved.high < 0.1
    return Claim(
        "The saturation point is a property of the data",
        "One number for each model and data set: the smallest size of which any single run is above 95 % of the "
        "best run.",
        "log10 of the point at equal epochs over that at equal steps, from the five runs of each seed, mean of scVI "
        "and autoencoder, zero-shot",
        moved,
        "artefact" if moved.above_zero else ("pattern seen" if stays else below(moved)),
        "Seen where it moves by less than a quarter; an artefact of steps where it moves with them. Cells by the "
        "best of all runs, by means of seeds, and our verdict, PCA, scVI and autoencoder at equal steps, then the "
        f"two at equal epochs: {words}.",
    )


def _steps(epochs: pd.DataFrame, steps: pd.DataFrame, model: str) -> Claim:
    gains = [_gain(scores, model, 2, ZERO_SHOT) for scores in (epochs, steps)]
    at_epochs, at_steps, more = (Estimate.of(one) for one in (*gains, gains[0] - gains[1]))
    return Claim(
        f"More cells make {NAMES[model]} better",
        RISES[model],
        "Accuracy after 1,200 random cells minus that after 24, zero-shot, at equal steps",
        at_steps,
        unless_confounded(above(at_epochs), still=at_steps.above_zero, removed=more.above_zero),
        f"At equal epochs, where 24 cells get 22 steps and 1,200 get 198, in place of 200, it is {at_epochs}, which is "
        f"more by {more}.",
    )


def _more_cells(scores: pd.DataFrame, model: str) -> Claim:
    found, beyond = (Estimate.of(_gain(scores, model, percent, ON_UNSEEN)) for percent in (1, 25))
    each = ", ".join(
        f"{target} {Estimate.of(_gain(scores, model, 1, {**ZERO_SHOT, 'target': target})).mean:+.3f}"
        for target in UNSEEN
    )
    return Claim(
        f"More cells make {NAMES[model]} better",
        RISES[model],
        "Accuracy after 10,000 random cells minus that after 100, zero-shot, mean of three unseen studies, equal steps",
        found,
        above(found),
        f"By study: {each}. Beyond 2,500 cells: {beyond}.",
    )


def _diversity(measures: pd.DataFrame, asked: Comparison) -> Claim:
    rows = measures[(measures["measure"] == asked.measure) & (measures["size"] == "own") & (measures["of"] == asked.of)]
    table = rows.pivot_table(index="seed", columns="corpus", values="value")
    found = Estimate.of(table[asked.corpus] - table[asked.than])
    return Claim(
        asked.name,
        asked.published,
        f"{asked.measure} of {asked.corpus} minus {asked.than}",
        found,
        above(found) if asked.sign > 0 else below(found),
        "Vendi scores are of 50 components in one space for all corpora, in place of genes chosen for each."
        if asked.measure == "vendi"
        else "Ten types of blood, in place of 164.",
    )


def _no_help(steps: pd.DataFrame, which: dict[str, str], percents: tuple[int, ...]) -> Claim:
    sampled = [(name, percent) for name in ("Re-weighted", "Sketch") for percent in percents]
    gains = {
        (name, percent): values(steps, **which, model="scvi", corpus=f"{name} {percent} %")
        - _random(steps, "scvi", percent, which)
        for name, percent in sampled
    }
    found = Estimate.of(_mean(gains.values()))
    each = ", ".join(f"{name} {percent} % {one.mean():+.3f}" for (name, percent), one in gains.items())
    return Claim(
        "More diverse corpora do not make scVI better",
        "Micro-F1 of scVI at 1 % is .910 re-weighted and .792 sketched, .915 at random; no larger size is better, "
        "either.",
        "Accuracy of scVI, zero-shot, re-weighted or sketched minus random of the same size, mean over two samplers "
        "× three sizes, equal steps",
        found,
        no_gain(found),
        f"Seen where the interval ends below {MARGIN}. By corpus: {each}.",
    )


def _foreign(steps: pd.DataFrame) -> Claim:
    pairs = [(name, model, percent) for name in ("A tenth", "Half") for model in NETWORKS for percent in (10,)]
    found = Estimate.of(
        _mean(
            values(steps, **ZERO_SHOT, model=model, corpus=f"{name} foreign {percent} %")
            - _random(steps, model, percent, ZERO_SHOT)
            for name, model, percent in pairs
        )
    )
    return Claim(
        "Perturb-seq that is spiked in does not help",
        "Corpora with 10 or 50 % Perturb-seq saturate where others do, and end no higher.",
        "Accuracy with foreign cells in place of a tenth, or half, minus random of the same size, zero-shot, mean "
        "over two networks",
        found,
        no_gain(found),
        f"Seen where the interval ends below {MARGIN}. The foreign cells are four cell lines.",
    )


def _pca(steps: pd.DataFrame, epochs: pd.DataFrame) -> Claim:
    found = Estimate.of(
        _random(steps, "pca", 100, ZERO_SHOT) - _mean(_random(steps, model, 100, ZERO_SHOT) for model in NETWORKS)
    )
    untrained = {
        model: Estimate.of(
            _random(steps, model, 100, ZERO_SHOT) - _random(epochs, f"{model}, untrained", 100, ZERO_SHOT)
        )
        for model in NETWORKS
    }
    return Claim(
        "PCA annotates as well as the networks",
        PCA_AHEAD,
        "Accuracy of PCA minus the mean of scVI's and the autoencoder's, zero-shot, after 1,200 cells",
        found,
        no_loss(found),
        f"Seen where the interval begins above -{MARGIN}. Training adds, to what a network is before its first step, "
        f"{untrained['scvi']} (scVI) and {untrained['masked_autoencoder']} (autoencoder).",
    )


def _pca_ahead(scores: pd.DataFrame) -> Claim:
    found, of_few = (
        Estimate.of(
            _random(scores, "pca", percent, ON_UNSEEN)
            - _mean(_random(scores, model, percent, ON_UNSEEN) for model in NETWORKS)
        )
        for percent in (100, 1)
    )
    each = ", ".join(
        f"{NAMES[model]} {_random(scores, model, 100, ON_UNSEEN).mean():.3f}" for model in ("pca", *NETWORKS)
    )
    return Claim(
        "PCA annotates as well as the networks",
        PCA_AHEAD,
        "Accuracy of PCA minus the mean of scVI's and the autoencoder's, zero-shot, after 10,000 cells, mean of three "
        "unseen studies",
        found,
        no_loss(found),
        f"Seen where the interval begins above -{MARGIN}. After 100 cells it is {of_few}; after 10,000: {each}.",
    )


def _geneformer(scores: pd.DataFrame) -> Claim:
    found = Estimate.of(_gain(scores, "geneformer", 25, ZERO_SHOT))
    trained = Estimate.of(
        _random(scores, "geneformer", 100, ZERO_SHOT) - _random(scores, "geneformer, untrained", 100, ZERO_SHOT)
    )
    contrastive = Estimate.of(_gain(scores, "contrastive", 25, ZERO_SHOT))
    return Claim(
        "Geneformer gains nothing beyond a quarter of the cells",
        "Micro-F1 of Geneformer on hematopoiesis is .856 after 25 %, and .845 after all.",
        "Accuracy of Geneformer after 1,200 cells minus that after 300, zero-shot, equal steps",
        found,
        no_gain(found),
        f"Seen where the interval ends below {MARGIN}. Training adds {trained} to the untrained network, which is "
        f"small and takes 60 steps. The contrastive model, taught types, gains {contrastive}.",
    )


def _perturbation(scores: pd.DataFrame) -> list[Claim]:
    which = {"task": "perturbation", "target": "blood", "metric": "pearson_profile"}
    mlp, delta = {**which, "way": "MLP"}, {**which, "way": "MLP", "metric": "pearson_delta"}
    trained, also = (
        Estimate.of(_random(scores, model, 100, mlp) - _random(scores, f"{model}, untrained", 100, mlp))
        for model in NETWORKS
    )
    ways = difference(scores, {"way": "no change"}, {"way": "MLP"}, **which, model="scvi", corpus="Random 100 %")
    change = Estimate.of(_random(scores, "scvi", 100, delta))
    more = Estimate.of(_gain(scores, "scvi", 2, mlp))
    return [
        Claim(
            "Training does not help to predict a perturbation",
            "Correlation of profiles with scVI after all cells and untrained: .819 and .828, .731 and .738, .683 "
            "and .701, .749 and .742.",
            "Correlation of mean profiles, scVI trained on 1,200 cells minus untrained",
            trained,
            no_gain(trained),
            f"Seen where the interval ends below {MARGIN}. Of the autoencoder it is {also}. From 24 to 1,200 "
            f"cells, scVI's changes by {more}. "
            "Interferon in ten types of blood, in place of drugs on four lines.",
        ),
        Claim(
            "No change is the better prediction",
            "Correlation of profiles by no change is .730, .831, .944 and .870, on three of four drugs above scVI's.",
            "Correlation of mean profiles, no change minus a perceptron on scVI's embedding (1,200 cells)",
            ways,
            above(ways),
            f"That correlation is high where nothing changes. Of changes, scVI's correlation is {change}; no change "
            "has none.",
        ),
    ]


def _integration(scores: pd.DataFrame) -> Claim:
    which = {"task": "integration", "target": "blood", "metric": "avg_bio"}
    left = {
        model: Estimate.of(_gain(scores, model, 2, which) / _random(scores, model, 100, which))
        for model in ("pca", "scvi", "masked_autoencoder")
    }
    untrained = Estimate.of(_random(scores, "scvi", 100, which) - _random(scores, "scvi, untrained", 100, which))
    return Claim(
        "Integration by scVI is saturated at the smallest size",
        "The saturation point of scVI is 1 % on lung, liver and periodontitis, and 10 % on renal.",
        "Share of scVI's avg-bio that comes only beyond 24 of 1,200 cells, equal steps",
        left["scvi"],
        below(left["scvi"], REST),
        f"Seen where the interval ends below 5 %. PCA: {left['pca']}; autoencoder: {left['masked_autoencoder']}. "
        f"Training adds {untrained} to an untrained scVI.",
    )


def _mean(one_for_each: "Iterable[pd.Series[float]]") -> "pd.Series[float]":
    """Return the mean, seed by seed."""
    mean: pd.Series[float] = pd.concat(list(one_for_each), axis="columns").mean(axis="columns", skipna=False)
    return mean
