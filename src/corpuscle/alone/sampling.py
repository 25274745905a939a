"""Sampling: choose cells of an AnnData."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from anndata import AnnData

from corpuscle.alone.cells import Rng, as_corpus, context_of, settled
from corpuscle.alone.label_columns import label_columns
from corpuscle.core.components import guarded
from corpuscle.core.errors import InputError
from corpuscle.core.randomness import given_generator
from corpuscle.corpus.sampler import Sampler


def sample(  # all but three by name
    adata: AnnData,
    sampler: str | Sampler = "uniform",
    /,
    *,
    n_cells: int,
    rng: Rng = 0,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
    **settings: Any,
) -> AnnData:
    """Choose cells.

    Parameters
    ----------
    adata
        Cells, with raw counts in ``X`` or `layer`.
    sampler
        The sampler's name; ``corpuscle list samplers`` shows all, with their settings. Or a sampler that was built.
    n_cells
        How many cells to choose.
    rng
        A generator, or the seed of one.
    layer
        Where the raw counts are: the name of a layer, ``"raw"``, or by default ``"X"``.
    labels
        Which columns of ``obs`` hold the labels that components know by name (``cell_type``, ``donor``, ``batch``,
        ``study``, ``tissue``, ``disease``, ``assay``, ``organism``), where they have other names there, such as
        ``{"cell_type": "louvain"}``; a label that a setting names (``by``, or in a filter) may be given, too. What
        nothing here uses is refused.
    settings
        The sampler's own.

    Returns
    -------
    AnnData
        A copy of the chosen cells, with all that `adata` has of them, in its order.

    Raises
    ------
    InputError
        When there are no raw counts, or the sampler cannot choose that many cells.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> blood = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    >>> corpuscle.sample(blood, "label_balanced", n_cells=400, by="cell_type").n_obs
    400
    """
    chooser = settled(Sampler, sampler, settings)
    if chooser.sources or chooser.looks_at:
        raise InputError(f"the sampler {chooser.name!r} needs other sources, too, so it works in a study alone")
    pool = as_corpus(adata, layer=layer, labels=label_columns(labels, chooser))
    if isinstance(n_cells, bool) or not isinstance(n_cells, int | np.integer) or not 0 < n_cells <= len(pool):
        raise InputError(f"n_cells: expected 1 to {len(pool):,}, the cells that there are; got {n_cells!r:.80}")
    with guarded(chooser):
        chosen = chooser.choose(pool, n_cells, given_generator(rng), context_of(pool))
    found = adata[np.sort(chosen)]
    return found.to_memory() if adata.isbacked else found.copy()
