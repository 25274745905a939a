"""What the small runs say of labels that are taught by bulk profiles and by cells synthesised from bulk."""

from dataclasses import replace

import numpy as np
import pandas as pd
from claim import MARGIN, Claim, Estimate, above, difference, no_gain, values

from corpuscle import Results

RANKS = {"task": "annotation", "model": "geneformer", "way": "whole"}
COUNTS = {"task": "annotation", "model": "scvi", "way": "whole"}
SIMPLE = {"task": "annotation", "model": "logistic_regression", "way": "own answer"}
AGGREGATIONS = ("Bulk of 10, sum", "Bulk of 10, sum/k", "Bulk of 10, sum/n")
# The two labels that synthetic cells are added of, which are the most alike: as in the study files, and what is in the
# place of the untreated cells first.
ADDED, ADDED_RICHER = ("CD4 Naive T", "CD4 Memory T"), ("CD4 T", "CD8 T")
SINGLE = {"corpus": "Single cells"}
OF_FIVE = "at most 0.45 to 0.50 with five labels, for 0.79 with single cells"


def claims(runs: dict[str, Results]) -> list[Claim]:
    """Return the claims: of five labels (``small``) and of two (``small_two``)."""
    five, two = runs["small"].scores, runs["small_two"].scores
    return [
        _aggregations(five, "ranks", RANKS),
        _aggregations(five, "counts", COUNTS),
        _pseudobulk(five),
        _bulk_added(five),
        _rising_k(five),
        _synthetic(five, "five labels", OF_FIVE),
        _synthetic(two, "two labels", "of two labels, no figure is at hand"),
        _law(five),
        _added(five, two),
        _first_label(five, ADDED),
    ]


def richer(run: Results) -> list[Claim]:
    """Return the claims on labels that are from sorting, and those that are asked of cells of another study, too."""
    same, other = (run.scores[run.scores["target"] == target] for target in ("sorted", "pbmc"))
    elsewhere = (
        _pseudobulk(other),
        _bulk_added(other),
        _synthetic(other, "five labels", OF_FIVE),
        _added(other),
        _first_label(other, ADDED_RICHER),
    )
    return [
        _aggregations(same, "ranks", RANKS),
        _aggregations(same, "counts", COUNTS),
        _pseudobulk(same),
        _bulk_added(same),
        _rising_k(same),
        _synthetic(same, "five labels", OF_FIVE),
        _law(same),
        _added(same),
        _first_label(same, ADDED_RICHER),
        *(
            replace(one, name=f"{one.name}, another study", measured=f"on cells of another study, {one.measured}")
            for one in elsewhere
        ),
    ]


def _mean(scores: pd.DataFrame, corpus: str, metric: str = "balanced_accuracy") -> float:
    return float(values(scores, **RANKS, corpus=corpus, metric=metric).mean())


def _aggregations(scores: pd.DataFrame, name: str, reader: dict[str, str]) -> Claim:
    each = [values(scores, **reader, corpus=corpus, metric="macro_f1") for corpus in AGGREGATIONS]
    spread = Estimate.of(np.ptp(pd.concat(each, axis=1).to_numpy(), axis=1))
    levels = ", ".join(f"{one.mean():.2f}" for one in each)
    why = {
        "ranks": f"Geneformer's input has no scale: {_equal_rows(scores)}. They are one input, three times.",
        "counts": "To a model that reads counts they are three inputs.",
    }
    return Claim(
        f"Three aggregations, {name}",
        "Sum, sum over k and sum over the exact size were three strategies, each given to Geneformer.",
        f"largest minus smallest macro-F1 of the three, profiles of ten, a model that reads {name}",
        spread,
        "no verdict",
        f"Macro-F1 {levels} (sum, sum/k, sum/n). {why[name]}",
    )


def _equal_rows(scores: pd.DataFrame) -> str:
    """Say how many scores are the same to the bit, and how far others are apart; costs, such as seconds, are none."""
    rows = scores[scores["corpus"].isin(AGGREGATIONS) & (scores["model"] == RANKS["model"])]
    rows = rows[~rows["metric"].str.startswith("fine_tune_")]
    table = rows.pivot_table(index=["task", "metric", "way", "unit", "seed"], columns="corpus", values="value").dropna()
    apart = table.max(axis=1) - table.min(axis=1)
    others = apart[apart > 0]
    said = f"{len(table) - len(others):,} of {len(table):,} scores, of all metrics and seeds, are equal to the last bit"
    if others.empty:
        return said
    metrics = ", ".join(sorted({str(metric) for metric in others.index.get_level_values("metric")}))
    return f"{said}, and others ({metrics}) differ by at most {others.max():.4f}, as division rounds"


def _pseudobulk(scores: pd.DataFrame) -> Claim:
    few, bulk = {"corpus": "Few single cells"}, {"corpus": "Bulk of 10, sum"}
    published = difference(scores, SINGLE, bulk, **RANKS, metric="balanced_accuracy")
    fair = difference(scores, few, bulk, **RANKS, metric="balanced_accuracy")
    examples = difference(scores, SINGLE, few, **RANKS, metric="balanced_accuracy")
    return Claim(
        "Pseudobulk for single cells",
        "Profiles of k cells took the place of single cells in training; no figure is at hand.",
        "mean accuracy of labels, Geneformer: single cells minus profiles of ten of the same cells",
        published,
        "no verdict",
        f"500 cells make 47 profiles. 500 single cells next to 50 bring {examples}; 50 single cells next to the "
        f"profiles, {fair}. Logistic regression loses "
        f"{difference(scores, SINGLE, bulk, **SIMPLE, metric='balanced_accuracy')} to the profiles, and "
        f"{difference(scores, SINGLE, few, **SIMPLE, metric='balanced_accuracy')} to 50 single cells.",
    )


def _bulk_added(scores: pd.DataFrame) -> Claim:
    few, both = {"corpus": "Few single cells"}, {"corpus": "Few single cells + bulk"}
    found, counts, simple = (
        difference(scores, both, few, **reader, metric="balanced_accuracy") for reader in (RANKS, COUNTS, SIMPLE)
    )
    return Claim(
        "Bulk added to few single cells",
        "Nothing; asked here, as those who have few single cells with labels may have bulk profiles.",
        "mean accuracy of labels, Geneformer: 50 single cells with 45 profiles of ten others minus 50 single cells",
        found,
        "no verdict",
        f"Of the model that reads counts (profiles are sums over ten), it is {counts}; of logistic regression, "
        f"{simple}.",
    )


def _rising_k(scores: pd.DataFrame) -> Claim:
    found = difference(scores, {"corpus": "Bulk of 5, sum"}, {"corpus": "Bulk of 20, sum"}, **RANKS, metric="macro_f1")
    counts = difference(
        scores, {"corpus": "Bulk of 5, sum"}, {"corpus": "Bulk of 20, sum"}, **COUNTS, metric="macro_f1"
    )
    return Claim(
        "Rising k",
        "k was raised, so that profiles are larger and fewer; no finding is at hand. Asked here: is less learned?",
        "macro-F1, Geneformer: profiles of five minus profiles of 20 of the same cells",
        found,
        "no verdict",
        f"Of a model that reads counts, it is {counts}: sums of 20 cells are nothing like a cell to it.",
    )


def _synthetic(scores: pd.DataFrame, name: str, figure: str) -> Claim:
    found = difference(scores, SINGLE, {"corpus": "Synthetic"}, **RANKS, metric="balanced_accuracy")
    counts = difference(scores, SINGLE, {"corpus": "Synthetic counts"}, **RANKS, metric="balanced_accuracy")
    return Claim(
        f"Synthetic cells alone, {name}",
        f"Taught by synthetic cells alone, Geneformer recognises single cells worse: {figure}.",
        "mean accuracy of labels, Geneformer: single cells minus as many synthetic cells (clipped normal)",
        found,
        above(found),
        f"{_mean(scores, 'Synthetic'):.2f} for {_mean(scores, 'Single cells'):.2f}, from bulk of those; by chance "
        f"{1 / _n_labels(scores):.2f}. Of synthetic counts, the difference is {counts}.",
    )


def _n_labels(scores: pd.DataFrame) -> int:
    return int(scores.loc[scores["metric"].eq("recall"), "unit"].nunique())


def _law(scores: pd.DataFrame) -> Claim:
    pair = {"corpus": "Synthetic counts"}, {"corpus": "Synthetic"}
    found, read = (difference(scores, *pair, **reader, metric="macro_f1") for reader in (RANKS, COUNTS))
    return Claim(
        "The law they are drawn from",
        "Each gene is a normal by itself, clipped at 0 and at its maximum: nearly all genes are above 0, and are "
        "ranked (our inference, not a finding of the study).",
        "macro-F1, Geneformer: synthetic cells drawn as correlated counts minus those drawn as clipped normals",
        found,
        "no verdict",
        f"Of the model that reads counts, it is {read}.",
    )


def _added(scores: pd.DataFrame, two: pd.DataFrame | None = None) -> Claim:
    both = {"corpus": "Single cells + synthetic"}
    found = difference(scores, both, SINGLE, **RANKS, metric="balanced_accuracy")
    of_two = ""
    if two is not None:
        loss = difference(two, both, SINGLE, **RANKS, metric="balanced_accuracy")
        of_two = f" With two labels, both of which have synthetic cells, it is {loss}."
    return Claim(
        "Synthetic cells added",
        "Synthetic cells of two labels, added to the single cells, bring no gain: mean accuracy of labels 0.75, 0.79, "
        "0.79 and 0.80 in four trials, as we read them, for 0.79.",
        "mean accuracy of labels, Geneformer: single cells with 200 synthetic ones minus single cells",
        found,
        no_gain(found),
        f"Seen where the interval ends below {MARGIN}.{of_two}",
    )


def _first_label(scores: pd.DataFrame, added: tuple[str, str]) -> Claim:
    both = {"corpus": "Single cells + synthetic"}
    found, other = (
        difference(scores, SINGLE, both, **RANKS, metric="recall", unit=f"cell_type={label}") for label in added
    )
    return Claim(
        "The label that is added loses",
        "The untreated cells, one of the two labels with synthetic cells, are recognised less often in all trials: "
        "0.57 to 0.64 for 0.68; the other, BMS, more often in three.",
        f"accuracy of {added[0]}, Geneformer: single cells minus single cells with synthetic ones of two labels",
        found,
        above(found),
        f"Of {added[1]}, the other label that is added and the one most like it, it is {other}.",
    )
