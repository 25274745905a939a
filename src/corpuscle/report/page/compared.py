"""A run's scores compared: what the page, the figures and the plots all show."""

from typing import NamedTuple

import pandas as pd

from corpuscle.report.page.run_folder import RunFolder
from corpuscle.report.sections.shown import shown_corpora
from corpuscle.statistics.comparisons import summarise
from corpuscle.statistics.pairs import all_pairs, ties_with_best


class Compared(NamedTuple):
    """A run's scores, compared.

    Attributes
    ----------
    summary
        What `summarise` returns, with ``ties_best`` (see `ties_with_best`); genes and cells are in tables of their own.
    pairs
        Every two of the corpora that are shown; see `all_pairs`.
    corpora
        The corpora that are shown, in their order.
    """

    summary: pd.DataFrame
    pairs: pd.DataFrame
    corpora: list[str]


def compared(run: RunFolder) -> Compared:
    """Compare a run's corpora, with all that its study says of comparisons: baseline, control, margins."""
    # Genes, markers, sets, cells and halves of a target have tables of their own.
    prefixes = ("gene=", "marker=", "set=", "gene_set=", "cell=", "half=")
    apart = run.scores["unit"].str.startswith(prefixes).fillna(value=False).astype(bool)
    scores = run.scores[~apart]
    summary = summarise(scores, run.baseline, overlaps=run.overlaps, control=run.control, margins=run.margins)
    corpora = shown_corpora(run.corpora, run.baseline, summary)
    pairs = all_pairs(scores, corpora, overlaps=run.overlaps)
    summary["ties_best"] = ties_with_best(summary, pairs)
    return Compared(summary, pairs, corpora)
