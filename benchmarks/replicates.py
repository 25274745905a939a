"""How often an interval over seeds finds a difference where there is none, as draws use up more of their pool.

    python benchmarks/replicates.py                 # a minute on one core
    python benchmarks/replicates.py --studies 20000

In each simulated study two corpora are compared that do not differ: their cells come from one population of skewed
values (gamma, shape 4). A source is a finite pool of that population; a seed draws a share of it without replacement,
and the corpus' score is the mean of its cells. An interval is wrong where it leaves out 0; 5 % should be.

plain       Student's t over seeds, as if every seed drew fresh cells
x 1/(1-f)   the variance multiplied by 1 / (1 - f): what undoes the finite population for one seed, not for their mean
ours        the variance multiplied by 1 + n f / (1 - f): `corpuscle.statistics.intervals.widening`

Two sources: each corpus has a pool of its own. One source: the second corpus is half of each draw of the first, so that
the two share cells. Types: from one pool, uniform draws against label-balanced ones that take all of a rare type. Fits:
two sources, and each run's score has noise of its own of the size of the drawing's, as of a model's initialisation.
"""

import argparse

import numpy as np

from corpuscle.statistics.intervals import half_width

N_POOL = 200


def drawn_means(
    rng: np.random.Generator, pool: np.ndarray, n_drawn: int, n_seeds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of uniform draws and of their first halves, shape (seeds, studies)."""
    order = rng.random((n_seeds, *pool.shape)).argsort(axis=2)[:, :, :n_drawn]
    cells = np.take_along_axis(pool[None], order, axis=2)
    return cells.mean(axis=2), cells[:, :, : max(1, n_drawn // 2)].mean(axis=2)


def two_sources(rng: np.random.Generator, n_studies: int, share: float, n_seeds: int) -> tuple[np.ndarray, float]:
    one, other = (
        drawn_means(rng, rng.gamma(4, size=(n_studies, N_POOL)), int(share * N_POOL), n_seeds)[0] for _ in range(2)
    )
    return one - other, share


def one_source(rng: np.random.Generator, n_studies: int, share: float, n_seeds: int) -> tuple[np.ndarray, float]:
    whole, half = drawn_means(rng, rng.gamma(4, size=(n_studies, N_POOL)), int(share * N_POOL), n_seeds)
    return whole - half, share


def types(rng: np.random.Generator, n_studies: int, share: float, n_seeds: int) -> tuple[np.ndarray, float]:
    """Half of a balanced draw are all cells of the rare type, half are drawn of the others."""
    n_drawn = int(share * N_POOL)
    n_rare = n_drawn // 2
    pool = rng.gamma(4, size=(n_studies, N_POOL))
    even, _ = drawn_means(rng, pool, n_drawn, n_seeds)
    common, _ = drawn_means(rng, pool[:, n_rare:], n_drawn - n_rare, n_seeds)
    balanced = (n_rare * pool[None, :, :n_rare].mean(axis=2) + (n_drawn - n_rare) * common) / n_drawn
    of_common = (n_drawn - n_rare) / (N_POOL - n_rare)
    return even - balanced, (n_rare + (n_drawn - n_rare) * of_common) / n_drawn


def fits(rng: np.random.Generator, n_studies: int, share: float, n_seeds: int) -> tuple[np.ndarray, float]:
    change, overlap = two_sources(rng, n_studies, share, n_seeds)
    drawing = np.sqrt(2 * 4 * (1 - share) / int(share * N_POOL))
    return change + rng.normal(0, drawing, change.shape), overlap


def false_positives(change: np.ndarray, variance_factor: float) -> float:
    """Return how often the interval of the mean over seeds leaves out 0, for changes of shape (seeds, studies)."""
    half = half_width(change.std(axis=0, ddof=1), len(change)) * np.sqrt(variance_factor)
    return float((np.abs(change.mean(axis=0)) > half).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000)
    options = parser.parse_args()
    print(f"{'compared':<12} {'share':>6} {'seeds':>6} {'overlap':>8} {'plain':>7} {'x 1/(1-f)':>10} {'ours':>7}")
    for kind in (two_sources, one_source, types, fits):
        for share in (0.05, 0.2, 0.5, 0.9):
            for n_seeds in (3, 5, 10):
                rng = np.random.default_rng([round(100 * share), n_seeds])
                change, overlap = kind(rng, options.studies, share, n_seeds)
                factors = (1.0, 1 / (1 - overlap), 1 + n_seeds * overlap / (1 - overlap))
                plain, once, ours = (f"{false_positives(change, factor):.1%}" for factor in factors)
                name = kind.__name__.replace("_", " ")
                print(f"{name:<12} {share:>6} {n_seeds:>6} {overlap:>8.2f} {plain:>7} {once:>10} {ours:>7}")


if __name__ == "__main__":
    main()
