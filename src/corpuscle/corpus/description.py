"""Description: how diverse a corpus' cells are in the common space, how deep, and how well they cover a target.

Axes in names: N cells, U uses of cells, V uses that are compared pair by pair, K components, D donors, R draws.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import MeasureError
from corpuscle.corpus.book import Book, attempt, demand
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.donors import Donors, draw_donors, interval, mean_interval
from corpuscle.corpus.label_description import ORDERS
from corpuscle.corpus.measures import depth, gene_coverage, mmd, moment_proxy, two_sample, vendi
from corpuscle.corpus.measures.coverage import Coverage, cover
from corpuscle.corpus.profile import BLOCK_CELLS, Profile

# Of a corpus of more, so many uses of cells are drawn for what needs counts: time and memory are bounded.
MOST_CELLS = 20_000
# The same for what compares cells pair by pair, and for the kernel, whose time grows with their square.
MOST_PAIRED, MOST_KERNEL = 5000, 2000
COMPONENTS, GENES = "components", "genes"
# What is refused where there is no common space.
OF_CELLS = {"vendi": COMPONENTS, "expressed_genes": GENES, "depth": GENES, "complexity": GENES}
OF_TARGET = {
    **dict.fromkeys(("coverage", "knn_distance", "recall", "density", "precision"), COMPONENTS),
    **dict.fromkeys(("squared_mmd", "classifier_auc"), COMPONENTS),
    **dict.fromkeys(("gene_coverage", "moment_proxy"), GENES),
}


class Seen:
    """Some cells whose counts were looked at.

    Parameters
    ----------
    profile
        The cells in the common space.
    rng
        Draws what of them is compared, and donors.
    n_equal
        How many cells the smallest corpus has.
    """

    def __init__(self, profile: Profile, rng: np.random.Generator, n_equal: int) -> None:
        self.profile = profile
        self.order_U = rng.permutation(len(profile.use_U))
        self.n_equal, self._rng = n_equal, rng

    def points(self, most: int) -> NDArray[np.float32]:
        """Return the coordinates of at most so many uses of cells; more have those that fewer have."""
        return self.profile.coordinates_NK[self.profile.use_U[self.order_U[:most]]]

    @cached_property
    def basis(self) -> moment_proxy.Basis | MeasureError:
        """What a linear model would know of the cells."""
        return attempt(lambda: moment_proxy.basis(self.profile.moments))

    @cached_property
    def donors(self) -> Donors | MeasureError:
        """The donors of all uses, drawn anew; or why they cannot be."""
        return attempt(lambda: _donors(self.profile.cells.take(self.profile.use_U), self._rng))


def _donors(cells: Corpus, rng: np.random.Generator) -> Donors:
    return draw_donors(cells.cells["source"].to_numpy(str), cells.labels("donor"), rng)


def describe_cells(book: Book, seen: Seen) -> None:
    """Add the diversity of a corpus' cells in the common space, and their depth."""
    found, n_uses = seen.profile, len(seen.profile.use_U)
    points_UK = found.coordinates_NK[found.use_U]
    whole = attempt(lambda: vendi.gram(points_UK))
    with book.row("vendi", COMPONENTS, n_uses) as row:
        row["value"] = vendi.vendi(demand(whole))
        row["low"], row["high"] = interval(row["value"], _vendi_over_draws(points_UK, demand(seen.donors)))
    if not isinstance(whole, MeasureError):
        book.curve("vendi", COMPONENTS, ORDERS, [vendi.vendi(whole, order) for order in ORDERS])
    equal_VK = seen.points(seen.n_equal)
    with book.row("vendi", COMPONENTS, len(equal_VK), size="equal") as row:
        row["value"] = vendi.vendi(vendi.gram(equal_VK))
    with book.row("expressed_genes", GENES, n_uses) as row:
        row["value"] = gene_coverage.expressed_genes(found.mean_C)
    for name, value_N in (("depth", found.depth_N), ("complexity", found.complexity_N)):
        spread = depth.quantiles(value_N[found.use_U])
        with book.row(name, GENES, n_uses) as row:
            row["value"] = spread.median
        book.curve(name, GENES, spread.levels, spread.values)


def _vendi_over_draws(points_UK: NDArray[np.float32], donors: Donors) -> NDArray[np.float64]:
    """Draw donors by mixing their Gram matrices: no cell is touched again."""
    grams_D = [vendi.gram(points_UK[donors.code_N == at]) for at in range(donors.draws_RD.shape[1])]
    sum_DKK = np.stack([found.gram_KK * found.n_cells for found in grams_D])
    return vendi.scores_of(np.tensordot(donors.draws_RD, sum_DKK, axes=1))


@dataclass(frozen=True, eq=False)
class Target:
    """A target's name and cells, all of which were looked at."""

    name: str
    seen: Seen

    @property
    def points_TK(self) -> NDArray[np.float32]:
        """The coordinates of its cells, in the order of their donors."""
        return self.seen.profile.coordinates_NK[self.seen.profile.use_U]

    @cached_property
    def kernel_width(self) -> float | MeasureError:
        """The median distance between its cells: one width for all corpora."""
        return attempt(lambda: mmd.median_distance(self.seen.points(MOST_KERNEL), np.random.default_rng(0)))


def describe_against(book: Book, seen: Seen, target: Target, rng: np.random.Generator) -> None:
    """Add how a corpus covers a target, at its own size (within bounds) and at equal size."""
    equal_VK = seen.points(seen.n_equal)
    equal = attempt(lambda: cover(equal_VK, target.points_TK))
    own_VK = seen.points(MOST_PAIRED)
    # The smallest corpus is at equal size already.
    own = equal if len(own_VK) == len(equal_VK) else attempt(lambda: cover(own_VK, target.points_TK))
    for size, found in (("own", own), ("equal", equal)):
        _add_coverage(book, found, target, size)
    with book.row("squared_mmd", COMPONENTS, min(seen.n_equal, MOST_KERNEL), target=target.name, size="equal") as row:
        some_VK = equal_VK[:MOST_KERNEL]
        row["value"] = mmd.squared_mmd(some_VK, target.seen.points(MOST_KERNEL), demand(target.kernel_width))
    with book.row("classifier_auc", COMPONENTS, seen.n_equal, target=target.name, size="equal") as row:
        row["value"] = two_sample.two_sample_auc(equal_VK, target.points_TK, rng)
    n_uses = len(seen.profile.use_U)
    with book.row("gene_coverage", GENES, n_uses, target=target.name) as row:
        row["value"] = gene_coverage.gene_coverage(seen.profile.mean_C, target.seen.profile.mean_C)
    with book.row("moment_proxy", GENES, n_uses, target=target.name) as row:
        r2_T = _forecast(demand(seen.basis), target.seen.profile)
        row["value"] = float(np.nanmean(r2_T))
        row["low"], row["high"] = mean_interval(r2_T, demand(target.seen.donors))


def _add_coverage(book: Book, found: Coverage | MeasureError, target: Target, size: str) -> None:
    """Add a row for each of the measures of coverage; those that are means over the target's cells have intervals."""
    n_cells = 0 if isinstance(found, MeasureError) else len(found.density_S)
    for name, of in (("coverage", "covered_T"), ("knn_distance", "distance_T"), ("recall", "recalled_T")):
        with book.row(name, COMPONENTS, n_cells, target=target.name, size=size) as row:
            value_T = getattr(demand(found), of)
            row["value"] = float(value_T.mean())
            row["low"], row["high"] = mean_interval(value_T, demand(target.seen.donors))
    for name in ("density", "precision"):
        with book.row(name, COMPONENTS, n_cells, target=target.name, size=size) as row:
            row["value"] = getattr(demand(found), name)


def _forecast(known: moment_proxy.Basis, target: Profile) -> NDArray[np.float64]:
    starts = range(0, len(target.cells), BLOCK_CELLS)
    blocks = [target.log_NH[start : start + BLOCK_CELLS].toarray() for start in starts]
    r2_N = np.concatenate([moment_proxy.forecast(known, log_BH) for log_BH in blocks])
    if np.isnan(r2_N).all():
        raise MeasureError("no cell of the target varies in the variable genes")
    return r2_N[target.use_U]


def refuse(book: Book, reason: MeasureError, targets: list[str]) -> None:
    """Add the rows of everything that needs a common space, with the reason why there is none."""
    for name, of in OF_CELLS.items():
        with book.row(name, of, 0):
            raise reason
    for target in targets:
        for name, of in OF_TARGET.items():
            with book.row(name, of, 0, target=target):
                raise reason
