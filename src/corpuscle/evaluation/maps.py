"""Maps: an embedding laid out in the plane by UMAP, for the eye only; nothing is measured on it."""

import numpy as np
import pandas as pd

from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.embedding import draw_cells, embedded
from corpuscle.model.model import FittedModel

MOST_CELLS = 3_000
# A map takes seconds to lay out, and nobody looks at hundreds: of more corpora, the baseline and the first have one.
MOST_MAPPED = 12
# With fewer there is nothing to lay out.
LEAST_CELLS = 10
N_NEIGHBOURS = 15


def umap_table(model: FittedModel, target: Corpus, seed: int) -> pd.DataFrame:
    """Lay out at most `MOST_CELLS` of a target's cells, the same for every model.

    Parameters
    ----------
    model
        What embeds the cells.
    target
        The cells.
    seed
        The same seed gives the same map.

    Returns
    -------
    One row per cell: ``x``, ``y``, ``cell_type`` and ``batch`` (the donor, for cells without a batch; missing labels
    are empty). No rows where there are too few cells, or their embedding is constant or not finite.

    References
    ----------
    McInnes, Healy and Melville 2018, UMAP, https://arxiv.org/abs/1802.03426.
    """
    from umap import UMAP

    found = embedded(model, draw_cells(target, MOST_CELLS), MOST_CELLS)
    if found.problem or len(found) < LEAST_CELLS:
        return pd.DataFrame({"x": [], "y": [], "cell_type": [], "batch": []}).astype({"cell_type": str, "batch": str})
    layout = UMAP(
        n_neighbors=min(N_NEIGHBOURS, len(found) - 1),
        init="pca" if found.z_NK.shape[1] > 1 else "random",
        random_state=seed,
        n_jobs=1,
    )
    xy = layout.fit_transform(found.z_NK).round(2)
    batch_N, donor_N = found.cells.labels("batch"), found.cells.labels("donor")
    batch_N = np.where(batch_N != "", batch_N, donor_N)
    return pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1], "cell_type": found.cells.labels("cell_type"), "batch": batch_N})
