"""Altering: change which cells an AnnData has, how often, their labels or their counts."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique

from corpuscle.alone.cells import SOURCE, Rng, as_corpus, context_of, settled
from corpuscle.alone.label_columns import label_columns
from corpuscle.core.randomness import given_generator
from corpuscle.corpus.alteration import Alteration, altered


def alter(  # all but two by name
    adata: AnnData,
    alteration: str | Alteration,
    /,
    *,
    rng: Rng = 0,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
    **settings: Any,
) -> AnnData:
    """Change which cells there are, how often, their labels or their counts.

    Parameters
    ----------
    adata, rng, layer, labels
        As for `sample`.
    alteration
        The alteration's name; ``corpuscle list alterations`` shows all, with their settings. Or one that was built.
    settings
        The alteration's own.

    Returns
    -------
    AnnData
        A new one: raw counts in ``X``, labels in ``obs``, genes by name in ``var``, in their order;
        ``uns["corpuscle"]["account"]`` is what was done, as JSON. A cell that is used several times has as many rows,
        named apart by a suffix (a corpus of a study has it once, with ``times`` in its table); cells that were made
        have the key of what made them in ``obs["made"]``.

    Raises
    ------
    InputError
        When there are no raw counts, the alteration cannot be done, or it would change nothing.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> blood = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    >>> fewer = corpuscle.alter(blood, "downsample", types=["B"], keep=0.1)
    >>> int((blood.obs["cell_type"] == "B").sum()), int((fewer.obs["cell_type"] == "B").sum())
    (198, 19)
    """
    step = settled(Alteration, alteration, settings)
    corpus = as_corpus(adata, layer=layer, labels=label_columns(labels, step))
    after = altered(step, corpus, given_generator(rng), context_of(corpus))
    used = np.repeat(np.arange(len(after)), after.cells["times"])
    # What is said of rows of a corpus' table goes: each row of this one is a cell, used once.
    obs = after.obs().iloc[used].drop(columns=["source", "row", "barcode", "times"])
    names = make_index_unique(pd.Index(after.cells["barcode"].astype(str).to_numpy(object)[used]))
    # Genes in the order that they had; of several columns of one gene, where the first was.
    columns = corpus.space.columns[SOURCE]
    genes = pd.unique(columns[columns >= 0])
    found = AnnData(after.counts()[used][:, genes], obs=obs.set_axis(names), var=after.var().iloc[genes])
    found.uns["corpuscle"] = {"account": json.dumps(after.account)}
    return found
