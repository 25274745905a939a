"""A made-up atlas on disk, written in a stream: what the benchmarks of reading and composing read."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

BLOCK_CELLS = 8192
CELL_TYPES = 40


def write_h5ad(path: Path, size: tuple[int, int], density: float, compression: str | None = None) -> Path:
    """Write cells × genes of random counts as CSR, laid out and chunked as anndata does."""
    n_cells, n_genes = size
    rng = np.random.default_rng(0)
    expected = int(1.05 * n_cells * n_genes * density)
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        matrix = file.create_group("X")
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(size)})
        growing = {"shape": (expected,), "maxshape": (None,), "chunks": True, "compression": compression}
        data = matrix.create_dataset("data", dtype=np.float32, **growing)
        indices = matrix.create_dataset("indices", dtype=np.int32, **growing)
        indptr = np.zeros(n_cells + 1, np.int64)
        for first in range(0, n_cells, BLOCK_CELLS):
            last = min(first + BLOCK_CELLS, n_cells)
            counts, genes, ends = random_counts(last - first, n_genes, density, rng)
            start = int(indptr[first])
            data[start : start + len(counts)], indices[start : start + len(genes)] = counts, genes
            indptr[first + 1 : last + 1] = start + ends
        for array in (data, indices):
            array.resize((int(indptr[-1]),))
        matrix["indptr"] = indptr
        write_tables(file, size, rng)
    return path


def random_counts(n_cells: int, n_genes: int, density: float, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Draw counts by their gaps, which are geometric: counts, genes, and where each cell ends."""
    total = n_cells * n_genes
    n_drawn = int(total * density + 8 * np.sqrt(total * density) + 100)
    places = np.cumsum(rng.geometric(density, n_drawn)) - 1
    places = places[: np.searchsorted(places, total)]
    counts = np.minimum(rng.geometric(0.45, len(places)), 500).astype(np.float32)
    ends = np.searchsorted(places, np.arange(1, n_cells + 1) * n_genes)
    return counts, (places % n_genes).astype(np.int32), ends


def write_tables(root: Any, size: tuple[int, int], rng: np.random.Generator) -> None:
    n_cells, n_genes = size
    codes = rng.integers(0, CELL_TYPES, n_cells)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(codes, [f"type {at}" for at in range(CELL_TYPES)]),
            "donor": pd.Categorical.from_codes(codes % 10, [f"donor {at}" for at in range(10)]),
        },
        index=[f"CELL{at:08}-1" for at in range(n_cells)],
    )
    genes = pd.Index([f"ENSG{at:011}" for at in range(n_genes)])
    write_elem(root, "obs", obs)
    write_elem(root, "var", pd.DataFrame({"feature_name": [f"GENE{at}" for at in range(n_genes)]}, index=genes))


def copy_to_zarr(h5ad: Path, path: Path, *, sharded: bool) -> Path:
    """Copy an atlas to zarr 3, in the chunks that zarr chooses, or in shards of 64 of them."""
    import zarr

    root = zarr.open_group(path, mode="w", zarr_format=3)
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    with h5py.File(h5ad) as file:
        source, matrix = file["X"], root.create_group("X")
        attributes = {key: source.attrs[key] for key in ("encoding-type", "encoding-version")}
        matrix.attrs.update({**attributes, "shape": [int(n) for n in source.attrs["shape"]]})
        for name in ("data", "indices", "indptr"):
            values = source[name]
            layout = {"chunks": (1 << 16,), "shards": (1 << 22,)} if sharded else {}
            array = matrix.create_array(name, shape=values.shape, dtype=values.dtype, **layout)
            step = (array.shards or array.chunks)[0] * (1 if sharded else 16)
            for start in range(0, len(values), step):
                array[start : start + step] = values[start : start + step]
        size = tuple(int(n) for n in source.attrs["shape"])
    write_tables(root, size, np.random.default_rng(0))
    return path
