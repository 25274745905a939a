"""Copies of cells that are found, false alarms, seconds and memory of the search for cells that are one cell.

    python benchmarks/overlap.py                                # the packaged data: some minutes
    python benchmarks/overlap.py --data FOLDER                  # and the .h5ad files of a folder, raw counts in X
    python benchmarks/overlap.py --panel 400                    # of each file 400 genes, as a panel has
    python benchmarks/overlap.py --only scale --cells 1000000   # time and memory on generated cells

Copies: up to `--most` cells of a file are altered, cut to a share of the genes, shuffled and renamed (no barcode
helps), and searched for in the file. "found" is the share of the decidable cells whose copy is found, "undecidable" the
share of the cells that the search says it cannot judge, "false" how many pairs of different cells were called one cell.
Each share is combined with each change: at 60 %, half of the counts, 60 % of the genes and other barcodes. False
alarms: a file's cells are parted in two, and one half is searched for in the other: every pair found is false.

Asserted: of the packaged pbmc3k, at least 99 % of the copies are found; memory on top of the data is at most 600 bytes
a cell and 1 GB.
"""

import argparse
import resource
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from corpuscle.corpus.overlap import find_copies
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.source.source import Source, dataset_path

WAYS = ("re-annotated", "thinned 0.9", "thinned 0.5", "doubled", "cp10k rounded", "log1p(cp10k) rounded")
SHARES = (0.5, 0.6, 0.7, 0.9, 1.0)
LEAST_FOUND = {"pbmc3k": 0.99}
MOST_BYTES_A_CELL, MOST_BYTES = 600, 1e9
PACKAGED = ("kang2018", "pbmc3k", "baron2016", "chen2019")


def source(name: str, counts: csr_matrix, genes: list[str]) -> Source:
    """Offer counts in memory as a source."""
    cells = pd.DataFrame(
        {"row": np.arange(counts.shape[0]), "barcode": [f"{name}{at}x" for at in range(counts.shape[0])]}
    )
    reader: Any = SimpleNamespace(
        read_counts=lambda rows: counts[rows], spec=lambda: {"counts": "X"}, counts="X", content=lambda: name
    )
    return Source(name, cells, pd.DataFrame(index=genes), reader)


def copies(one: Source, two: Source) -> Any:
    named = {source.name: source for source in (one, two)}
    space = gene_space({name: gene_names(found.genes) for name, found in named.items()}, "union")
    return find_copies(named, space, [(one.name, two.name)])


def pairs(found: Any, n_one: int) -> set[tuple[int, int]]:
    """Return which cells of the first source are which of the second."""
    near = found.near[["one", "two"]].to_numpy()
    same = found.identical.merge(found.identical, on="group")[["cell_x", "cell_y"]].to_numpy()
    both = np.concatenate([near, same])
    both = both[(both[:, 0] < n_one) & (both[:, 1] >= n_one)]
    return set(map(tuple, both.tolist()))


def altered(counts: csr_matrix, way: str, rng: np.random.Generator) -> csr_matrix:
    counts = counts.copy()
    if way == "re-annotated":
        # As another annotation: a few genes of each cell have a count more or less.
        chosen = rng.random(counts.nnz) < 0.01
        counts.data[chosen] += rng.choice([-1, 1], chosen.sum())
    elif way.startswith("thinned"):
        counts.data = rng.binomial(counts.data.astype(int), float(way.split()[1])).astype(np.float32)
    elif way == "doubled":
        counts.data *= 2
    else:
        totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
        counts.data = (counts.data * np.repeat(1e4 / totals, np.diff(counts.indptr))).astype(np.float32)
        counts.data = np.round(np.log1p(counts.data) if way.startswith("log1p") else counts.data)
    counts.eliminate_zeros()
    return counts


def of_file(path: Path, most: int, panel: int) -> None:
    data = ad.read_h5ad(path)
    counts = csr_matrix(data.X, dtype=np.float32)
    counts.eliminate_zeros()
    rng = np.random.default_rng(0)
    if panel:
        # As panels are chosen: some of the genes that many cells have.
        common = np.argsort(-np.bincount(counts.indices, minlength=counts.shape[1]), kind="stable")[: 4 * panel]
        counts = csr_matrix(counts[:, np.sort(rng.permutation(common)[:panel])])
    n, genes = min(most, counts.shape[0]), [f"g{at}" for at in range(counts.shape[1])]
    few = counts[np.sort(rng.permutation(counts.shape[0])[:n])]
    median = np.median(np.diff(few.indptr))
    print(f"\n{path.stem}: {n:,} cells, {len(genes):,} genes, {median:.0f} detected in the median cell", flush=True)
    print(f"{'copy':22s}" + "".join(f"{share:>6.0%} found undecid. false" for share in SHARES))
    for way in WAYS:
        line = f"{way:22s}"
        for share in SHARES:
            order, kept = rng.permutation(n), np.sort(rng.permutation(len(genes))[: round(share * len(genes))])
            copy = altered(few, way, rng)[order][:, kept]
            found = copies(source("a", few, genes), source("b", csr_matrix(copy), [genes[at] for at in kept]))
            got = pairs(found, n)
            true = {(int(cell), n + at) for at, cell in enumerate(order)}
            poor = set(found.undecidable.tolist())
            decidable = {pair for pair in true if not poor & set(pair)}
            hit = len(got & decidable) / len(decidable) if decidable else float("nan")
            if not panel and path.stem in LEAST_FOUND:
                assert hit >= LEAST_FOUND[path.stem], f"{way}, {share:.0%} of the genes: {hit:.4f} found"
            line += f"{hit:12.4f} {1 - len(decidable) / n:8.3f} {len(got - true):5d}"
        print(line, flush=True)
    order = rng.permutation(counts.shape[0])
    halves = [np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])]
    label_N = data.obs["cell_type"].astype(str).to_numpy() if "cell_type" in data.obs else np.full(len(order), "")
    n_pairs = sum(np.prod([int((label_N[half] == label).sum()) for half in halves]) for label in set(label_N))
    found = copies(*(source(name, counts[half], genes) for name, half in zip("ab", halves, strict=True)))
    got = pairs(found, len(halves[0]))
    print(f"false alarms: {len(got)} in {n_pairs:,} pairs of different cells of one type", flush=True)


def scale(n_cells: int, n_genes: int = 20_000, detected: int = 800) -> None:
    """Search generated cells of 40 types, the last tenth of which are copies thinned to 0.8."""
    rng, n = np.random.default_rng(0), n_cells // 2
    base = rng.gamma(0.3, 1.0, n_genes)
    laws = [law / law.sum() for law in (base * rng.lognormal(0, 1, n_genes) for _ in range(40))]

    def cells(n: int) -> csr_matrix:
        pieces = []
        for start in range(0, n, 5000):
            law = laws[start // 5000 % 40]
            drawn = np.searchsorted(np.cumsum(law), rng.random((min(5000, n - start), detected))).astype(np.int32)
            rows = np.repeat(np.arange(len(drawn)), detected)
            drawn = np.minimum(drawn.ravel(), n_genes - 1)
            pieces.append(
                csr_matrix((np.ones(len(drawn), np.float32), (rows, drawn)), (len(drawn) // detected, n_genes))
            )
        from scipy.sparse import vstack

        return vstack(pieces, format="csr")

    one, two = cells(n), cells(n - n // 10)
    from scipy.sparse import vstack

    two = vstack([two, altered(one[: n // 10], "thinned 0.8", rng)], format="csr")
    genes = [f"g{at}" for at in range(n_genes)]
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started = time.perf_counter()
    got = pairs(copies(source("a", one, genes), source("b", two, genes)), n)
    seconds = time.perf_counter() - started
    true = {(at, 2 * n - n // 10 + at) for at in range(n // 10)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{n_cells:,} generated cells of {detected} counts: {seconds:.0f} s, {peak - held:.1f} GB on top of the data")
    most = MOST_BYTES_A_CELL * n_cells + MOST_BYTES
    assert (peak - held) * 2**30 <= most, f"more than {most / 2**30:.1f} GB"
    print(f"found {len(got & true) / len(true):.4f} of {len(true):,} copies thinned to 0.8; {len(got - true)} false")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of .h5ad files")
    parser.add_argument("--files", nargs="*", help="only files with these stems")
    parser.add_argument("--most", type=int, default=2000)
    parser.add_argument("--panel", type=int, default=0, help="keep so many genes of each file")
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["files", "scale"])
    args = parser.parse_args()
    if args.only != "scale":
        paths = [dataset_path(name) for name in PACKAGED] + (sorted(args.data.glob("*.h5ad")) if args.data else [])
        for path in paths:
            if not args.files or path.stem in args.files:
                of_file(path, args.most, args.panel)
    if args.only != "files":
        scale(args.cells)


if __name__ == "__main__":
    main()
