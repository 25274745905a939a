"""A model that learns from a corpus, as two commands: principal components of log expression.

fit:    python external_pca.py fit CELLS MODEL SEED
embed:  python external_pca.py embed CELLS MODEL EMBEDDING
"""

import sys
from pathlib import Path

import h5py
import numpy as np

N_COMPONENTS = 10


def log_expression(path):
    """Read the counts of an .h5ad, cells × genes, as log1p counts per 10,000."""
    with h5py.File(path, "r") as file:
        x = file["X"]
        data, indices, indptr = (x[name][:] for name in ("data", "indices", "indptr"))
        dense = np.zeros(x.attrs["shape"], np.float32)
    dense[np.repeat(np.arange(len(dense)), np.diff(indptr)), indices] = data
    return np.log1p(1e4 * dense / np.maximum(dense.sum(axis=1, keepdims=True), 1))


def fit(cells, model, seed):
    """Learn the components, of at most 2,000 cells that the seed draws."""
    x = log_expression(cells)
    drawn = np.random.default_rng(int(seed)).permutation(len(x))[:2000]
    mean = x[drawn].mean(axis=0)
    axes = np.linalg.svd(x[drawn] - mean, full_matrices=False)[2][:N_COMPONENTS]
    np.savez(Path(model) / "pca.npz", mean=mean, axes=axes)


def embed(cells, model, embedding):
    """Place cells on the components."""
    learned = np.load(Path(model) / "pca.npz")
    np.save(embedding, (log_expression(cells) - learned["mean"]) @ learned["axes"].T)


if __name__ == "__main__":
    {"fit": fit, "embed": embed}[sys.argv[1]](*sys.argv[2:])
