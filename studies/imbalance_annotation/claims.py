"""What the small runs say of the published claims on imbalance in annotation."""

from typing import NamedTuple

import pandas as pd
from claim import MARGIN, Claim, Estimate, above, no_gain, unless_confounded, values

from corpuscle import Results

NETWORKS = ("scgpt", "scbert", "geneformer")
NAMES = {"scgpt": "scGPT", "scbert": "scBERT", "geneformer": "Geneformer"}
EPOCHS, STEPS = "annotation, equal epochs", "annotation, equal steps"


class Asked(NamedTuple):
    """What a study file asks, in the words of its claims.

    Attributes
    ----------
    cells
        Which cells are asked about.
    epochs, steps
        How long the two tasks of the file fine-tune.
    rare
        The types that are few in training.
    of_rare
        These types, in words.
    number_of_rare
        A sentence on how many they are.
    """

    cells: str
    epochs: int
    steps: int
    rare: tuple[str, ...]
    of_rare: str
    number_of_rare: str


SMALL = Asked(
    "600 other cells",
    6,
    150,
    ("Dendritic", "Megakaryocytes"),
    "dendritic cells and megakaryocytes",
    "These are 1 to 2 % of the cells, and 12 of them are asked about",
)
RICHER = Asked(
    "1,909 cells of a donor of whom none is trained on",
    4,
    150,
    ("endothelial", "macrophage", "quiescent_stellate"),
    "endothelial cells, macrophages and quiescent stellate cells",
    "These are 1 to 2 % of the training cells each, and 236 of them are asked about",
)


def claims(runs: dict[str, Results]) -> list[Claim]:
    """Return the claims, from the runs of ``small.toml`` and ``small_tokens.toml``."""
    resampled, tokens = runs["small"].scores, runs["small_tokens"].scores
    return [
        *_resampling(resampled, SMALL),
        _least(
            resampled, "scgpt", "fine_tune_seconds", "scGPT is fastest", "Of the three, scGPT takes the least time."
        ),
        _least(
            resampled,
            "scbert",
            "fine_tune_peak_gb",
            "scBERT is smallest",
            "Of the three, scBERT takes the least memory.",
        ),
        _tokens(tokens),
        _simple(resampled),
    ]


def richer(run: Results) -> list[Claim]:
    """Return the claims that ``richer.toml`` asks again of a donor of whom no corpus has a cell."""
    return [*_resampling(run.scores, RICHER), _simple(run.scores)]


def _resampling(scores: pd.DataFrame, asked: Asked) -> list[Claim]:
    """Return what altered training cells bring."""
    return [
        *(_over_sampling(scores, name, asked) for name in NETWORKS),
        _rare_types(scores, asked),
        _under_sampling(scores, asked),
    ]


def _f1(scores: pd.DataFrame, corpus: str, model: str, task: str = EPOCHS, way: str = "whole") -> "pd.Series[float]":
    """Return the macro-F1 of a fine-tuned network for each seed."""
    return values(scores, corpus=corpus, model=model, task=task, way=way, metric="macro_f1")


def _gains(scores: pd.DataFrame, corpus: str, models: tuple[str, ...], task: str) -> "pd.Series[float]":
    """Return what an altered corpus brings, mean over models, for each seed."""
    gains = [_f1(scores, corpus, model, task) - _f1(scores, "Original", model, task) for model in models]
    return sum(gains[1:], start=gains[0]) / len(gains)


def _both(epochs: "pd.Series[float]", steps: "pd.Series[float]") -> tuple[Estimate, Estimate, Estimate]:
    """Return what is brought at equal epochs, at equal steps, and by how much the first is more, paired by seed."""
    return Estimate.of(epochs), Estimate.of(steps), Estimate.of(epochs - steps)


def _over_sampling(scores: pd.DataFrame, model: str, asked: Asked) -> Claim:
    epochs, steps, more = _both(*(_gains(scores, "Over-sampled", (model,), task) for task in (EPOCHS, STEPS)))
    return Claim(
        f"Over-sampling helps {NAMES[model]}",
        f"{NAMES[model]}, fine-tuned on over-sampled cells, annotates better than on the original ones.",
        f"macro-F1 on {asked.cells}, over-sampled less original, {asked.epochs} epochs each, over seeds",
        epochs,
        unless_confounded(above(epochs), still=steps.above_zero, removed=more.above_zero),
        f"{asked.epochs} epochs of over-sampled cells are three times the steps; at {asked.steps} steps each: {steps}, "
        f"which is less by {more}.",
    )


def _rare_types(scores: pd.DataFrame, asked: Asked) -> Claim:
    epochs, steps, more = _both(
        *(
            _of_rare(scores, "Over-sampled", task, asked) - _of_rare(scores, "Original", task, asked)
            for task in (EPOCHS, STEPS)
        )
    )
    return Claim(
        "Over-sampling helps rare types",
        "Asked here: of which classes the gain is, no finding is known.",
        f"F1 of {asked.of_rare}, over-sampled less original, {asked.epochs} epochs each, mean of three models",
        epochs,
        "no verdict",
        f"{asked.number_of_rare}; at {asked.steps} steps each: {steps}, which is less by {more}.",
    )


def _of_rare(scores: pd.DataFrame, corpus: str, task: str, asked: Asked) -> "pd.Series[float]":
    rare = scores["unit"].isin([f"cell_type={label}" for label in asked.rare])
    of_networks = rare & scores["model"].isin(NETWORKS) & (scores["way"] == "whole") & (scores["metric"] == "f1")
    rows = scores[of_networks & (scores["corpus"] == corpus) & (scores["task"] == task)]
    return rows.groupby("seed")["value"].mean()


def _under_sampling(scores: pd.DataFrame, asked: Asked) -> Claim:
    epochs, steps, less = _both(*(_gains(scores, "Under-sampled", NETWORKS, task) for task in (EPOCHS, STEPS)))
    imputed = Estimate.of(_gains(scores, "Imputed", NETWORKS, EPOCHS))
    return Claim(
        "Under-sampling does not help",
        "Fine-tuned on under-sampled cells, none of the models annotates better.",
        f"macro-F1, under-sampled less original, {asked.epochs} epochs each, mean of three models, over seeds",
        epochs,
        unless_confounded(no_gain(epochs), still=steps.high < MARGIN, removed=less.below_zero),
        f"Seen where the interval ends below {MARGIN}. {asked.epochs} epochs of under-sampled cells are a third of the "
        f"steps; at {asked.steps} each: {steps}, from which the first differs by {less}. Imputed cells, of which no "
        f"direction was published: {imputed}.",
    )


def _least(scores: pd.DataFrame, model: str, metric: str, name: str, published: str) -> Claim:
    """Compare what a model takes with the least of the two others."""
    taken = pd.DataFrame({
        each: values(scores, corpus="Original", model=each, task=STEPS, way="whole", metric=metric)
        for each in NETWORKS
    })  # fmt: skip
    less = Estimate.of(taken[model] - taken.drop(columns=model).min(axis=1))
    unit = "seconds" if metric.endswith("seconds") else "GB, of the whole process"
    return Claim(
        name,
        published,
        f"{unit}, of 150 steps of fine-tuning, {NAMES[model]} less the lower of the two others, over seeds",
        less,
        "no verdict",
        "Of our small sizes, on a shared CPU, where libraries take most memory; full.toml has the published sizes.",
    )


def _tokens(scores: pd.DataFrame) -> Claim:
    nearest, tuned = (_gain_of_training(scores, way) for way in ("5 nearest", "whole"))
    more, also = (Estimate.of(one["right"] - one["wrong"]) for one in (nearest, tuned))
    return Claim(
        "Geneformer gains least, as it reads ranks",
        "Geneformer's low scores are put down to its reading ranks; the public code gives it numbers of columns as "
        "token ids. No figure is known.",
        "what training brings (macro-F1 by the five nearest cells, less that of the network before any step) to cells "
        "whose genes are under their own tokens, less to the same cells under wrong ones, over seeds",
        more,
        "no verdict",
        f"Training brings {Estimate.of(nearest['right'])} under the right tokens and "
        f"{Estimate.of(nearest['wrong'])} under wrong ones. Fine-tuned on 750 cells, it brings "
        f"{Estimate.of(tuned['right'])} and {Estimate.of(tuned['wrong'])}, which differ by {also}. Whether the "
        "published scores are low by wrong ids is not shown.",
    )


def _gain_of_training(scores: pd.DataFrame, way: str) -> dict[str, "pd.Series[float]"]:
    """Return for each target what the trained network has more than the untrained one, for each seed."""
    gains = {}
    for target in ("right", "wrong"):
        trained, untrained = (
            values(scores, target=target, model=model, way=way, metric="macro_f1")
            for model in ("geneformer", "geneformer, untrained")
        )
        gains[target] = trained - untrained
    return gains


def _simple(scores: pd.DataFrame) -> Claim:
    simple = _f1(scores, "Original", "logistic_regression", STEPS, "own answer")
    best = pd.DataFrame({model: _f1(scores, "Original", model, STEPS) for model in NETWORKS}).max(axis=1)
    more = Estimate.of(simple - best)
    return Claim(
        "A simple method is better",
        "On Zheng68K, logistic regression has a macro-F1 of 0.707, scBERT 0.675 (of another group).",
        "macro-F1, logistic regression less the best of three networks, original cells, over seeds",
        more,
        above(more),
        "The networks here are small and taught from random weights.",
    )
