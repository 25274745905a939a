"""Samplers and principal components at scale, ours next to the reference implementation where that can run.

    python benchmarks/sampling.py                          # one of each; most of the minutes are geosketch's
    python benchmarks/sampling.py sketch --cells 200000 --sketch 20000
    python benchmarks/sampling.py atlas_sketch             # 22 million cells; 10 GB of memory
    python benchmarks/sampling.py waterfill --cells 20000000
    python benchmarks/sampling.py components --cells 1000000 --alone --folder /tmp/atlas
    python benchmarks/sampling.py components --cells 100000

Each measurement is made in a process of its own: wall-clock and processor seconds without imports, compilation and
the making of the input, and the process' peak resident memory with all of that. `--alone` leaves the reference out,
`--repeat` repeats in turns, and takes medians; of the ratio, that of the pairs.

sketch      n points in 50 dimensions, a mixture of 40 clusters of unlike size in float32 -> a geometric sketch;
            the reference is geosketch 1.3 (`pip install geosketch`), with as many boxes as cells drawn.
atlas_sketch  22 million such points (4.4 GB, which are held, and so are in the peak) -> 222,000; no reference, which
            would take hours.
waterfill   n cells of 164 types whose sizes fall geometrically -> n / 10 cells, label-balanced; the reference is the
            published script's loop with pandas.
components  50 components of 2,000 of 6,000 genes, out of core, from a CSR .h5ad that is made first (2 KB a cell), and
            all cells' coordinates, into a store; the reference is scanpy in memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

N_DIMS, N_TYPES, N_GENES, N_UMIS = 50, 164, 6000, 450
BLOCK = 50_000


def points(n_cells: int) -> Any:
    """Make a mixture of clusters, a block at a time, so that no float64 copy of the whole is ever held."""
    rng = np.random.default_rng(0)
    spread = np.linspace(10, 1, N_DIMS, dtype=np.float32)
    centres = rng.normal(size=(40, N_DIMS)).astype(np.float32) * spread
    shares = 0.85 ** np.arange(40)
    found = np.empty((n_cells, N_DIMS), np.float32)
    for start in range(0, n_cells, BLOCK):
        block = found[start : start + BLOCK]
        cluster = rng.choice(40, len(block), p=shares / shares.sum())
        block[:] = centres[cluster] + rng.standard_normal(block.shape, np.float32) * spread / 4
    return found


def labels(n_cells: int) -> Any:
    shares = 0.95 ** np.arange(N_TYPES)
    return np.random.default_rng(0).choice(N_TYPES, n_cells, p=shares / shares.sum()).astype(np.int16)


def atlas(path: Path, n_cells: int) -> None:
    """Write n cells of 20 types as CSR; a block of cells is drawn, then written again and again in other orders."""
    import h5py
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.3, size=(20, N_GENES)) * rng.lognormal(0, 1, N_GENES)
    n_block = min(BLOCK, n_cells)
    cells = np.repeat(np.arange(n_block), N_UMIS)
    genes = np.empty(len(cells), np.int64)
    type_of_cell = np.sort(rng.integers(0, 20, n_block))
    for kind, profile in enumerate(profiles):
        here = np.flatnonzero(type_of_cell == kind)
        if len(here):
            drawn = np.searchsorted(np.cumsum(profile) / profile.sum(), rng.random(len(here) * N_UMIS))
            genes[here[0] * N_UMIS : (here[-1] + 1) * N_UMIS] = np.minimum(drawn, N_GENES - 1)
    block = csr_matrix((np.ones(len(cells), np.float32), (cells, genes)), (n_block, N_GENES))
    block.sum_duplicates()
    n_stored = sum(block[: min(n_block, n_cells - start)].nnz for start in range(0, n_cells, n_block))
    partial = path.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n_cells, N_GENES]})
        data = group.create_dataset("data", (n_stored,), np.float32, chunks=(1 << 18,))
        indices = group.create_dataset("indices", (n_stored,), np.int32, chunks=(1 << 18,))
        at, ends = 0, [np.zeros(1, np.int64)]
        for start in range(0, n_cells, n_block):
            n_here = min(n_block, n_cells - start)
            some = block[:n_here][rng.permutation(n_here)]
            data[at : at + some.nnz], indices[at : at + some.nnz] = some.data, some.indices
            ends.append(some.indptr[1:].astype(np.int64) + at)
            at += some.nnz
        group["indptr"] = np.concatenate(ends)
        for name, length, prefix in (("obs", n_cells, "c"), ("var", N_GENES, "G")):
            table = file.create_group(name)
            table.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
            table.attrs["column-order"] = np.array([], dtype=h5py.string_dtype())
            table["_index"] = np.array([f"{prefix}{number}" for number in range(length)], dtype=object)
            table["_index"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    partial.rename(path)


class Clock:
    """Measures what happens between `start` and the end of the process."""

    def start(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def told(self, what: str) -> dict[str, Any]:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return {"wall": wall, "cpu": cpu, "peak": peak, "what": what}


def ours_sketch(options: argparse.Namespace, clock: Clock) -> str:
    from corpuscle.core.randomness import drawn_key, row_numbers
    from corpuscle.corpus.balanced_order import take_turns
    from corpuscle.corpus.samplers.geometric_sketch.plaid_covering import plaid_cover

    plaid_cover(np.random.default_rng(0).normal(size=(99, 3)).astype(np.float32), 9)
    input_NK = points(options.cells)
    clock.start()
    boxes = plaid_cover(input_NK, options.sketch)
    rng = np.random.default_rng(0)
    number_N = row_numbers(drawn_key(rng), "atlas", np.arange(options.cells))
    chosen = take_turns(boxes.box_N, options.sketch, number_N, rng.permutation(boxes.n_boxes))
    return f"{boxes.n_boxes:,} boxes, {len(np.unique(chosen)):,} cells"


def reference_sketch(options: argparse.Namespace, clock: Clock) -> str:
    import geosketch

    input_NK = points(options.cells)
    clock.start()
    return f"{len(geosketch.gs(input_NK, options.sketch, seed=0)):,} cells"


def ours_waterfill(options: argparse.Namespace, clock: Clock) -> str:
    from corpuscle.core.randomness import row_numbers
    from corpuscle.corpus.balanced_order import take_turns

    label_N = labels(options.cells)
    clock.start()
    number_N = row_numbers(0, "atlas", np.arange(options.cells))
    chosen = take_turns(label_N, options.cells // 10, number_N, np.arange(N_TYPES))
    return f"{len(chosen):,} cells"


def reference_waterfill(options: argparse.Namespace, clock: Clock) -> str:
    import pandas as pd

    left = pd.DataFrame({"cell_type": pd.Categorical(labels(options.cells)), "cell": np.arange(options.cells)})
    clock.start()
    budget, taken = options.cells // 10, []
    while True:
        counts = left["cell_type"].value_counts()
        share = int(budget / left["cell_type"].nunique())
        small = counts.index[counts < share]
        if not len(small):
            break
        taken.append(left["cell"][left["cell_type"].isin(small)])
        budget -= int(counts[small].sum())
        left = left[left["cell_type"].isin(counts.index[counts > share])]
        left = left.assign(cell_type=left["cell_type"].cat.remove_unused_categories())
    drawn = [group.sample(share, random_state=0)["cell"] for _, group in left.groupby("cell_type", observed=True)]
    return f"{len(pd.concat([*taken, *drawn])):,} cells"


def ours_components(options: argparse.Namespace, clock: Clock) -> str:
    import pandas as pd
    from scipy.sparse import csr_matrix

    from corpuscle.corpus.corpus import Corpus
    from corpuscle.corpus.expression.principal_components import PrincipalComponents
    from corpuscle.corpus.expression.sparse_products import add_products
    from corpuscle.source.gene_names import gene_names
    from corpuscle.source.genes import gene_space
    from corpuscle.source.reader import reader_for
    from corpuscle.store import Store

    reader = reader_for(options.folder / f"{options.cells}.h5ad", "X")
    space = gene_space({"atlas": gene_names(pd.DataFrame(index=[f"G{at}" for at in range(N_GENES)]))})
    cells = pd.DataFrame({"source": "atlas", "row": np.arange(options.cells), "barcode": "", "times": 1})
    corpus = Corpus("atlas", cells, {"atlas": reader}, space)
    add_products(csr_matrix(np.eye(2, dtype=np.float32)), np.zeros((2, 2)))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        clock.start()
        found = PrincipalComponents(corpus, {"atlas": corpus}, Store(Path(folder)))
        found.of(corpus.take(np.arange(10)), 50)
        return f"variances {', '.join(f'{value:.4g}' for value in found.axes.variance_K[[0, 1, 9]])}"


def reference_components(options: argparse.Namespace, clock: Clock) -> str:
    import anndata
    import scanpy

    clock.start()
    data = anndata.read_h5ad(options.folder / f"{options.cells}.h5ad")
    scanpy.pp.normalize_total(data, target_sum=1e4)
    scanpy.pp.log1p(data)
    scanpy.pp.highly_variable_genes(data, flavor="seurat", n_top_genes=2000)
    scanpy.pp.pca(data, n_comps=50, mask_var="highly_variable", svd_solver="arpack")
    return f"variances {', '.join(f'{value:.4g}' for value in data.uns['pca']['variance'][[0, 1, 9]])}"


CASES: dict[str, tuple[Any, Any, str]] = {
    "sketch": (ours_sketch, reference_sketch, "geosketch 1.3"),
    "atlas_sketch": (ours_sketch, None, ""),
    "waterfill": (ours_waterfill, reference_waterfill, "published loop"),
    "components": (ours_components, reference_components, "scanpy"),
}


def measure(case: str, side: int, options: argparse.Namespace) -> dict[str, Any]:
    """Make one measurement in a process of its own."""
    asked = {**vars(options), "folder": str(options.folder)}
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import sampling; sampling.child()"
    command = [sys.executable, "-W", "ignore", "-c", code, json.dumps([case, side, asked])]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def child() -> None:
    case, side, asked = json.loads(sys.argv[1])
    options, clock = argparse.Namespace(**{**asked, "folder": Path(asked["folder"])}), Clock()
    what = CASES[case][side](options, clock)
    print(json.dumps(clock.told(what)))


def show(case: str, options: argparse.Namespace) -> None:
    size = f"{case}, {options.cells:,} cells" + (f" -> {options.sketch:,}" if "sketch" in case else "")
    sides = ("corpuscle", CASES[case][2])[: 1 if options.alone or CASES[case][1] is None else 2]
    # In turns, so that what else the machine does falls on both.
    runs = [[measure(case, side, options) for side in range(len(sides))] for _ in range(options.repeat)]
    for side, name in enumerate(sides):
        wall, cpu, peak = (float(np.median([pair[side][key] for pair in runs])) for key in ("wall", "cpu", "peak"))
        ratio = f"{np.median([pair[side]['cpu'] / pair[0]['cpu'] for pair in runs]):7.2f}" if side else " " * 7
        print(f"{size:<42} {name:<15} {wall:9.2f} {cpu:9.2f} {peak:8.2f} {ratio}   {runs[0][side]['what']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=CASES)
    parser.add_argument("--cells", type=int)
    parser.add_argument("--sketch", type=int, help="cells to draw")
    parser.add_argument("--alone", action="store_true", help="leave the reference out")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the atlas is made, and kept; else a temporary one")
    options = parser.parse_args()
    print(f"{'':<42} {'':<15} {'wall s':>9} {'CPU s':>9} {'peak GB':>8} {'ratio':>7}")
    sizes = {"sketch": 200_000, "atlas_sketch": 22_000_000, "waterfill": 20_000_000, "components": 100_000}
    sketches = {"atlas_sketch": 222_000}
    with tempfile.TemporaryDirectory() as scratch:
        for case in [options.case] if options.case else sizes:
            cells = options.cells or sizes[case]
            folder = options.folder or Path(scratch)
            asked = {"cells": cells, "sketch": options.sketch or sketches.get(case, cells // 10), "folder": folder}
            if case == "components" and not (folder / f"{cells}.h5ad").exists():
                folder.mkdir(parents=True, exist_ok=True)
                atlas(folder / f"{cells}.h5ad", cells)
            show(case, argparse.Namespace(**{**vars(options), **asked}))


if __name__ == "__main__":
    main()
