"""Write the simulated cells that the small studies here read: kinds of cells whose number is known.

``python studies/calibrated_clustering/simulate.py`` writes ``simulated.h5ad`` next to itself (15 MB, not kept in the
repository), the same to the bit each time; ``… simulate.py FOLDER CELLS`` writes so many cells of each simulation into
a folder, as the full study needs.

The model is that of Splatter, which the publication used, without its outliers and trends: the mean of a gene is drawn
from a gamma distribution, the depth of a cell is log-normal, and a count is negative binomial around their product.
Kinds differ in a share of the genes, which one kind expresses at a multiple. What is drawn:

- ``one kind``: cells of one kind; the deviation of the logarithm of their depths is 0.3.
- ``three kinds``: 60 %, 20 % and 20 % of the cells; each has 30 genes of its own at three times their mean.
- ``one kind, uneven depth``: as the first, but for the depths: 0.7 (the packaged blood cells: 0.5).
- ``two kinds, ten genes``: halves that differ in ten genes alone, at twelve times their mean.

Axes in names: N cells, G genes.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from script import a_folder, a_number, run, words, write_cells  # noqa: E402

N_CELLS, N_GENES, SEED = 6000, 600, 0
# Of the gamma distribution of means, whose own mean is 2, and of the counts around them.
SHAPE, SCALE, SIZE = 1.0, 2.0, 2.0


class Design(NamedTuple):
    """What is simulated: shares of the kinds, genes of each kind, their multiple, and the deviation of log depth."""

    shares: tuple[float, ...] = (1.0,)
    own_genes: int = 0
    multiple: float = 1.0
    depth: float = 0.3


DESIGNS = {
    "one kind": Design(),
    "three kinds": Design(shares=(0.6, 0.2, 0.2), own_genes=30, multiple=3.0),
    "one kind, uneven depth": Design(depth=0.7),
    "two kinds, ten genes": Design(shares=(0.5, 0.5), own_genes=5, multiple=12.0),
}


def simulated(design: Design, rng: np.random.Generator, n_cells: int = N_CELLS) -> tuple[csr_matrix, NDArray[np.int64]]:
    """Return counts, shape (N, G), and each cell's kind."""
    mean_G = rng.gamma(SHAPE, SCALE, N_GENES)
    kind_N = np.repeat(np.arange(len(design.shares)), [round(n_cells * share) for share in design.shares])
    mean_NG = np.tile(mean_G, (len(kind_N), 1))
    for kind in range(len(design.shares)):
        # The genes at the middle of the means: neither without counts nor the few that are most of a cell.
        own = np.argsort(mean_G)[N_GENES // 2 :][kind * design.own_genes : (kind + 1) * design.own_genes]
        mean_NG[np.ix_(kind_N == kind, own)] *= design.multiple
    mean_NG *= rng.lognormal(0, design.depth, len(kind_N))[:, None]
    counts = rng.poisson(rng.gamma(SIZE, mean_NG / SIZE))
    return csr_matrix(counts.astype(np.float32)), kind_N


def cells(n_cells: int = N_CELLS) -> ad.AnnData:
    """Return the cells of all designs, so many of each."""
    parts = []
    for at, (name, design) in enumerate(DESIGNS.items()):
        counts, kind_N = simulated(design, np.random.default_rng([SEED, at]), n_cells)
        obs = pd.DataFrame({"simulation": name, "cell_type": [f"kind {kind + 1}" for kind in kind_N]})
        parts.append(ad.AnnData(counts, obs.set_index(f"cell_{at}_" + obs.index.astype(str))))
    whole = ad.concat(parts)
    whole.var_names = [f"simulated_{gene}" for gene in range(N_GENES)]
    return whole


def main() -> None:
    """Write the cells, next to this script where no folder is given."""
    parser = words(__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=a_folder, nargs="?", default=HERE, help="where to write")
    parser.add_argument("cells", metavar="CELLS", type=a_number, nargs="?", default=N_CELLS, help="of each simulation")
    given = parser.parse_args()
    write_cells(cells(given.cells), given.folder / "simulated.h5ad")


if __name__ == "__main__":
    run(main)
