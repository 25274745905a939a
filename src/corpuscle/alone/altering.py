"""Altering: change which cells an AnnData has, how often, their labels or their counts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique
from numpy.typing import NDArray

from corpuscle.alone.cells import SOURCE, Rng, context_of, corpus_of, opened_cells, settled
from corpuscle.alone.label_columns import label_columns
from corpuscle.core.randomness import given_generator
from corpuscle.corpus.alteration import Alteration, altered
from corpuscle.source.features import features_of
from corpuscle.source.gene_names import GeneNames
from corpuscle.source.genes import gene_space
from corpuscle.source.in_memory import RAW, place_of


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
        A new one: raw counts in ``X``, ``obs`` with the labels, and ``var`` as it was, with its names, columns and
        order (of several columns of one gene, which are summed, as the first was; antibodies, peaks and guides are
        left out). ``uns["corpuscle"]["account"]`` is what was done, as JSON. A cell that is used several times has as
        many rows, named apart by a suffix (a corpus of a study has it once, with ``times`` in its table); cells that
        were made, or whose counts were changed, have the key of what made them in ``obs["made"]``.

        ``obsm`` is kept where no cell was made or changed; else it is left out, as it is not of these cells. Always
        left out are layers, ``raw``, ``obsp``, ``varm``, ``varp`` and the rest of ``uns``: what is in them depends on
        which cells there were.

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
    source = opened_cells(SOURCE, adata, layer, label_columns(labels, step))
    corpus = corpus_of(source, gene_space({SOURCE: _all_named(source.gene_names)}))
    after = altered(step, corpus, given_generator(rng), context_of(corpus))
    used = np.repeat(np.arange(len(after)), after.cells["times"])
    # What is said of rows of a corpus' table goes: each row of this one is a cell, used once.
    obs = after.obs().iloc[used].drop(columns=["source", "row", "barcode", "times"])
    names = make_index_unique(pd.Index(after.cells["barcode"].astype(str).to_numpy(object)[used]))
    # Genes in the order that they had; of several columns of one gene, where the first was.
    columns = corpus.space.columns[SOURCE]
    is_first = ~pd.Index(columns).duplicated()
    var = _genes(adata, layer)[is_first].copy()
    obsm = {} if after.used_makers else _rows(adata, after.cells["row"].to_numpy(np.int64)[used], names)
    found = AnnData(after.counts()[used][:, columns[is_first]], obs=obs.set_axis(names), var=var, obsm=obsm)
    found.uns["corpuscle"] = {"account": json.dumps(after.account)}
    return found


def _all_named(names: GeneNames) -> GeneNames:
    """Return the names of genes where each has one that it is matched by, so that none is left out."""
    kind = "ensembl" if names.has_ensembl else "symbols"
    ids = names.ensembl if names.has_ensembl else names.symbols
    places = np.array([f"gene {at}" for at in range(len(ids))])
    return replace(names, **{kind: np.where(ids != "", ids, np.where(names.symbols != "", names.symbols, places))})


def _genes(adata: AnnData, layer: str | None) -> pd.DataFrame:
    """Return var, or raw's, without what is no gene."""
    table: pd.DataFrame = adata.raw.var if place_of(adata, layer) == RAW else adata.var
    return table[features_of(table).is_gene]


def _rows(adata: AnnData, rows: NDArray[np.int64], names: pd.Index) -> dict[str, Any]:
    """Return some rows of each entry of obsm, a row as often as it is asked for."""
    return {
        key: value.iloc[rows].set_axis(names) if isinstance(value, pd.DataFrame) else value[rows]
        for key, value in adata.obsm.items()
    }
