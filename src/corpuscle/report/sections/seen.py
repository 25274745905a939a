"""Seen in training: which share of each target's cells each model learned from, in words."""

from typing import NamedTuple

import pandas as pd

from corpuscle.core.scores import SEEN


class SeenRow(NamedTuple):
    """What a model saw of a target: ``"unseen"``, a share (a range, where corpora or seeds differ), ``"unknown"``."""

    target: str
    model: str
    text: str


def seen_rows(scores: pd.DataFrame) -> list[SeenRow]:
    """Say of each target and model which share of the target's cells the model learned from, over corpora and seeds.

    Examples
    --------
    >>> models, shares = ["pca", "pca", "geneformer"], [0.0, 0.25, float("nan")]
    >>> scores = pd.DataFrame({"target": "blood", "model": models, SEEN: shares})
    >>> [row.text for row in seen_rows(scores)]
    ['unseen to 25.0 %', 'unknown']
    """
    groups = scores.groupby(["target", "model"], sort=False, observed=True)[SEEN]
    return [SeenRow(str(target), str(model), _words(shares)) for (target, model), shares in groups]


def _words(shares: "pd.Series[float]") -> str:
    known = shares.dropna()
    if known.empty:
        return "unknown"
    texts = dict.fromkeys(_share(float(end)) for end in (known.min(), known.max()))
    return " to ".join(texts) + ("" if len(known) == len(shares) else ", unknown for some corpora")


def _share(share: float) -> str:
    if share == 0:
        return "unseen"
    return "less than 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
