"""Detection: how likely a search finds a copy of a cell, by what was done to the copy; tried on cells of the sources.

Axes in names: N cells, G genes of all sources, D draws.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.randomness import generator
from corpuscle.corpus.overlap import marks
from corpuscle.corpus.overlap.chance import Background, Evidence, compare, likely

# Shares of a cell's counts that its copies keep. Of copies that keep less than all, `CHANGED` of the entries have a
# count more or less besides, as another aligner gives.
KEPT = (1.0, 0.8, 0.5, 0.25, 0.1)
CHANGED = 0.01
# Cells of a source that are tried.
TRIED = 512
COLUMNS = ("of", "among", "kept", "n_detected", "found")


class Setting(NamedTuple):
    """What decides in a search whether a copy is found.

    Attributes
    ----------
    arrival_GD
        See `marks.races`.
    bars
        The evidence that is asked for.
    fewest_bands
        How many bands a pair must have in common to be looked at; 0: all pairs are.
    """

    arrival_GD: NDArray[np.float32]
    bars: Evidence
    fewest_bands: int


def detection(sample_NG: csr_matrix, behind: tuple[Background, Background], setting: Setting) -> pd.DataFrame:
    """Make copies of some cells, and try whether each would be found, had it another barcode and no copy next to it.

    Parameters
    ----------
    sample_NG
        Counts of cells, in the genes of all sources.
    behind
        What cells of their source, and of the one that the copies would be in, look like.
    setting
        What decides.

    Returns
    -------
    One row per cell and share of `KEPT`: ``kept``, ``n_detected`` (genes of the cell itself) and ``found``.
    """
    shared_G, rng = behind[0].shared_G, generator(0, "detection of copies")
    n_detected = np.asarray((sample_NG[:, np.flatnonzero(shared_G)] > 0).sum(axis=1)).ravel()
    at = np.flatnonzero(n_detected > 0)
    at = np.sort(rng.permutation(at)[:TRIED])
    cells, tables = sample_NG[at], []
    for kept in KEPT:
        found = _found(cells, _copied(cells, kept, rng), behind, setting)
        tables.append(pd.DataFrame({"kept": kept, "n_detected": n_detected[at], "found": found}))
    return pd.concat(tables, ignore_index=True)


def _copied(cells_NG: csr_matrix, kept: float, rng: np.random.Generator) -> csr_matrix:
    """Return copies of cells that keep a share of their counts."""
    if kept == 1:
        return cells_NG
    thinned = rng.binomial(np.rint(cells_NG.data).astype(np.int64), kept)
    changed = rng.random(len(thinned)) < CHANGED
    thinned[changed] = np.maximum(0, thinned[changed] + rng.choice([-1, 1], int(changed.sum())))
    copies = csr_matrix((thinned.astype(np.float32), cells_NG.indices, cells_NG.indptr), cells_NG.shape, copy=True)
    copies.eliminate_zeros()
    return copies


def _found(
    cells_NG: csr_matrix, copies_NG: csr_matrix, behind: tuple[Background, Background], setting: Setting
) -> NDArray[np.bool_]:
    """Return which cells' copies a search would look at, and believe."""
    shared_G, n = behind[0].shared_G, cells_NG.shape[0]
    no_barcode = np.zeros(n, bool)
    compared = compare(cells_NG, copies_NG, np.repeat(np.arange(n)[:, None], 2, axis=1), behind)
    believed = setting.bars.believed(compared.evidence_P, compared.identical_P, no_barcode)
    bands = [marks.bands(counts, shared_G, setting.arrival_GD) for counts in (cells_NG, copies_NG)]
    genes = [marks.hashes(counts, shared_G)[1] for counts in (cells_NG, copies_NG)]
    seen = ((bands[0] == bands[1]).sum(axis=1) >= setting.fewest_bands) | (genes[0] == genes[1])
    found: NDArray[np.bool_] = seen & believed & likely(compared, no_barcode)
    return found
