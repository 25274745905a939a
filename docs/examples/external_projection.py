"""A zero-shot model as a command: log expression, projected on directions that only genes' names decide."""

import sys
import zlib

import h5py
import numpy as np

cells, embedding = sys.argv[1:]
with h5py.File(cells, "r") as file:
    x, var = file["X"], file["var"]
    data, indices, indptr = (x[name][:] for name in ("data", "indices", "indptr"))
    genes = var[var.attrs["_index"]].asstr()[:]
directions = np.stack([np.random.default_rng(zlib.crc32(gene.encode())).normal(size=8) for gene in genes])
z = np.zeros((len(indptr) - 1, 8))
for cell in range(len(z)):
    here = slice(indptr[cell], indptr[cell + 1])
    counts = data[here].astype(float)
    z[cell] = np.log1p(1e4 * counts / max(counts.sum(), 1)) @ directions[indices[here]]
np.save(embedding, z)
