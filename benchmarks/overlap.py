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
from numba import njit
from scipy.sparse import csr_matrix

from corpuscle.corpus.overlap import find_copies
from corpuscle.source.countable import countable
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.source.source import Source, dataset_path, open_source

WAYS = (
    "re-annotated", "re-aligned", "thinned 0.9", "thinned 0.5", "doubled", "cp10k rounded", "log1p(cp10k) rounded",
    "log1p(cp10k)",
)  # fmt: skip
SHARES = (0.5, 0.6, 0.7, 0.9, 1.0)
LEAST_FOUND = {"pbmc3k": 0.99}
MOST_BYTES_A_CELL, MOST_BYTES = 600, 1e9
PACKAGED = ("kang2018", "pbmc3k", "baron2016", "chen2019")


def source(name: str, counts: csr_matrix, genes: list[str]) -> Source:
    """Offer values in memory as a source, as `corpuscle overlap` opens them: counts are made of what is none."""
    names = pd.DataFrame(index=[f"{name}{at}x" for at in range(counts.shape[0])])
    found, _ = countable(open_source(name, ad.AnnData(counts, obs=names, var=pd.DataFrame(index=genes))))
    return found


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
    elif way == "re-aligned":
        # As another aligner: a few counts are lost everywhere, more of a tenth of the genes, and 1 % of entries move.
        kept_G = np.where(rng.random(counts.shape[1]) < 0.1, rng.uniform(0.3, 1, counts.shape[1]), 0.95)
        counts.data = rng.binomial(counts.data.astype(int), kept_G[counts.indices]).astype(np.float32)
        chosen = rng.random(counts.nnz) < 0.01
        counts.data[chosen] = np.maximum(0, counts.data[chosen] + rng.choice([-1, 1], chosen.sum()))
    elif way.startswith("thinned"):
        counts.data = rng.binomial(counts.data.astype(int), float(way.split()[1])).astype(np.float32)
    elif way == "doubled":
        counts.data *= 2
    else:
        totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
        counts.data = (counts.data * np.repeat(1e4 / totals, np.diff(counts.indptr))).astype(np.float32)
        counts.data = np.log1p(counts.data) if way.startswith("log1p") else counts.data
        counts.data = np.round(counts.data) if way.endswith("rounded") else counts.data
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


@njit(nogil=True)
def _mixed(x):  # compiled
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(nogil=True)
def _drawn(cell_n, kept_n, law_TQ, depth, n_genes):  # compiled
    """Draw the counts of cells by their numbers: any cell at any time, none kept in memory."""
    starts = np.zeros(len(cell_n) + 1, np.int64)
    genes, counts = np.empty(len(cell_n) * depth, np.int32), np.empty(len(cell_n) * depth, np.float32)
    at_gene, n = np.full(n_genes, -1, np.int64), 0
    for at in range(len(cell_n)):
        law = law_TQ[cell_n[at] // 5000 % len(law_TQ)]
        for draw in range(depth):
            mark = _mixed(np.uint64(cell_n[at]) * np.uint64(1_000_003) + np.uint64(draw) + np.uint64(1))
            if np.float64(_mixed(mark) >> np.uint64(40)) >= kept_n[at] * 2.0**24:
                continue
            gene = law[mark % np.uint64(len(law))]
            if at_gene[gene] < starts[at]:
                at_gene[gene] = n
                genes[n], counts[n] = gene, 0
                n += 1
            counts[at_gene[gene]] += 1
        starts[at + 1] = n
    return starts, genes[:n], counts[:n]


def scale(n_cells: int, n_genes: int = 20_000, depth: int = 800) -> None:
    """Search generated cells of 40 types in as many others, a tenth of which are copies of them thinned to 0.8."""
    rng, n = np.random.default_rng(0), n_cells // 2
    base = rng.gamma(0.3, 1.0, n_genes)
    laws = [np.cumsum(base * rng.lognormal(0, 1, n_genes)) for _ in range(40)]
    at = (np.arange(2**18) + 0.5) / 2**18
    law_TQ = np.stack([np.searchsorted(law / law[-1], at) for law in laws]).astype(np.int32)
    n_copies = n // 10

    def reader(first: int) -> Any:
        def read_counts(rows: Any) -> csr_matrix:
            cell, kept = rows + first, np.ones(len(rows))
            if first:
                # The last of the second source are the first of the first one.
                copied = rows >= n - n_copies
                cell, kept = np.where(copied, rows - (n - n_copies), cell), np.where(copied, 0.8, 1.0)
            starts, genes, counts = _drawn(cell.astype(np.int64), kept, law_TQ, depth, n_genes)
            return csr_matrix((counts, genes, starts), (len(rows), n_genes))

        return SimpleNamespace(
            read_counts=read_counts, spec=lambda: {"counts": "X"}, counts="X", content=lambda: str(first)
        )

    genes = pd.DataFrame(index=[f"g{at:05d}" for at in range(n_genes)])
    one, two = (
        Source(name, pd.DataFrame({"row": np.arange(n), "barcode": [f"{name}{at}x" for at in range(n)]}), genes, found)
        for name, found in (("a", reader(0)), ("b", reader(n)))
    )
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started, used = time.perf_counter(), time.process_time()
    got = pairs(copies(one, two), n)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    true = {(at, 2 * n - n_copies + at) for at in range(n_copies)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{n:,} × {n:,} generated cells of {depth} counts: {seconds:.0f} s ({used:.0f} s of processor time), "
        f"{peak:.1f} GB at the peak, {peak - held:.1f} GB on top of the names of the cells"
    )
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
